"""What `csift doctor` looks at, apart from Prefect (deployments.doctor). Each look yields findings, and raises csift's own errors
where that says more; `attempt` makes findings of those."""

from csift.doctor.finding import Finding, attempt, failed, ok, warning

__all__ = ["Finding", "attempt", "failed", "ok", "warning"]
