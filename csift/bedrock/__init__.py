"""Training as an Amazon Bedrock model customization job: the cloud's stand-in for csift's own training.

`upload` puts an exported dataset into S3, `customize` trains a model from it or finds the one that it trained before,
`loss_points` reads how that went, `provisioned` serves the model for as long as a block lasts, and `system_of` makes it a System
like any other. Whoever was killed on the way calls the same again: nothing is paid twice. See docs/bedrock.md.
"""

from csift.bedrock.jobs import customize, stop, system_of
from csift.bedrock.records import COMMITMENTS, Customization, Orphan, Provisioned, Quote
from csift.bedrock.rows import training_rows
from csift.bedrock.s3 import loss_points, upload
from csift.bedrock.throughput import orphans, provision, provisioned, release

__all__ = [
    "COMMITMENTS",
    "Customization",
    "Orphan",
    "Provisioned",
    "Quote",
    "customize",
    "loss_points",
    "orphans",
    "provision",
    "provisioned",
    "release",
    "stop",
    "system_of",
    "training_rows",
    "upload",
]
