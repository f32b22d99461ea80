"""Results and failures of methods as netconduit's maps."""

from veltix_tx.dropin.conduit.response.error import Error
from veltix_tx.dropin.conduit.response.response import Response

__all__ = ["Error", "Response"]
