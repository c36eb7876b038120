"""`csift doctor`: is everything there that the loop needs?"""

from typing import Annotated

import typer

from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command


@command(app, "doctor")
def doctor(
    config: Config = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
    debug: Debug = False,
) -> int:
    """Checks versions, database, storage, models, Prefect and the teacher, and names each fix; exit code 1 when any fails."""
    from csift.reports.doctor import print_findings, print_findings_json
    from deployments.doctor import examine

    seen = (print_findings_json if as_json else print_findings)(examine(config))
    return 1 if any(finding.state == "FAIL" for finding in seen) else 0
