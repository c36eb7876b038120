"""Votes, kept: one of a person on an item, which that person may change."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from csift.db.connection import Database
from csift.db.reviews import ReviewVoteRow
from csift.schemas import ReviewVote


def cast(db: Database, vote: ReviewVote) -> None:
    """Keeps a vote, in place of what the same person said of the item before."""
    keys = ("project", "round_id", "item_id", "voter")
    row = {**{name: getattr(vote, name) for name in keys}, "record": vote.model_dump(mode="json"), "at": vote.at}
    again = {"record": row["record"], "at": row["at"]}
    with db.session() as session:
        session.execute(insert(ReviewVoteRow).values(row).on_conflict_do_update(index_elements=list(keys), set_=again))


def votes_of(db: Database, project: str, round_id: str) -> list[ReviewVote]:
    """All votes of a round, by item and voter."""
    wanted = sa.select(ReviewVoteRow.record).where(ReviewVoteRow.project == project, ReviewVoteRow.round_id == round_id)
    with db.session() as session:
        records = session.scalars(wanted.order_by(ReviewVoteRow.item_id, ReviewVoteRow.voter))
        return [ReviewVote.model_validate(record) for record in records]
