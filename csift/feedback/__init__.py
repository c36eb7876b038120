"""What people say of answers (thumbs, ratings, edits, rankings), kept for a project, and what is to be learnt of it.

From Python::

    from csift import feedback
    from csift.corpus.scrub import Scrubber
    from csift.db import database

    scrub = Scrubber(("EMAIL_ADDRESS", "PHONE_NUMBER")).text
    feedback.give(database(), "catalogue", "answer-5f0c...", rating=2, edited_answer="29 kg", rater="ada", scrub=scrub)
    feedback.rank(database(), "catalogue", ["answer-91aa...", "answer-5f0c..."], rater="ada", scrub=scrub)  # best first
"""

from csift.feedback.critic import Critic, Graded, criticise, least_agreement
from csift.feedback.keeping import Given, about, answers_of_ids, give, load, private, rank, save, say
from csift.feedback.learning import learn
from csift.feedback.rated import RatedTraffic, rated_traffic
from csift.feedback.settling import disputes, lessons, settle, settlements
from csift.feedback.voices import BAD_TO, GOOD_FROM, Said, heard, opinion

__all__ = [
    "BAD_TO",
    "GOOD_FROM",
    "Critic",
    "Given",
    "Graded",
    "RatedTraffic",
    "Said",
    "about",
    "answers_of_ids",
    "criticise",
    "disputes",
    "give",
    "heard",
    "learn",
    "least_agreement",
    "lessons",
    "load",
    "opinion",
    "private",
    "rank",
    "rated_traffic",
    "save",
    "say",
    "settle",
    "settlements",
]
