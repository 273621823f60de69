"""Where a worker's metrics are seen: Temporal's own, and ours beside them."""

from __future__ import annotations

from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from sealwax.secret_references import SettingsError
from sealwax.telemetry_settings import TelemetrySettings


def runtime(telemetry: TelemetrySettings) -> Runtime | None:
    """The runtime of a process that serves metrics; None, for Temporal's default, where none.

    Make it once, before the process connects. Raises ``SettingsError`` where the address cannot
    be listened at.
    """
    if not telemetry.prometheus:
        return None
    try:
        config = PrometheusConfig(bind_address=telemetry.prometheus)
        return Runtime(telemetry=TelemetryConfig(metrics=config))
    except (ValueError, RuntimeError) as error:
        raise SettingsError(
            f"telemetry.prometheus: nothing can listen at {telemetry.prometheus} ({error}); give"
            " each process a free port of its own, such as by SEALWAX_TELEMETRY__PROMETHEUS"
        ) from None
