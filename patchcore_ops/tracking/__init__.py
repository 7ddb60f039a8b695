"""What a wave has measured, sent to W&B, MLflow or TensorBoard; none is imported unless used."""

from patchcore_ops.tracking.group_name import group_name
from patchcore_ops.tracking.record import CategoryResult, Record, read_record, write_record
from patchcore_ops.tracking.sending import Outcome, Parcel, send

__all__ = [
    "CategoryResult",
    "Outcome",
    "Parcel",
    "Record",
    "group_name",
    "read_record",
    "send",
    "write_record",
]
