"""AWS clients with botocore's own retries, AWS's errors as one line, and calls in parallel."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from csift.exceptions import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")

FIXES = {
    "AccessDeniedException": "grant these credentials the permission, and the account access to the model in Bedrock's console",
    "ResourceNotFoundException": "correct the id or CSIFT_AWS_REGION",
    "ValidationException": "correct what it names; if the text is too long, lower corpus.chunk_size",
    "ThrottlingException": "wait, or raise the account's quota",
    "ServiceQuotaExceededException": "wait, or raise the account's quota",
    "ExpiredTokenException": "renew the AWS credentials",
    "UnrecognizedClientException": "correct the AWS credentials",
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give this machine a role",
    "EndpointConnectionError": "check the network, CSIFT_AWS_REGION and CSIFT_AWS_ENDPOINT_URL",
}


def aws_client(service: str, region: str | None, endpoint_url: str | None, connections: int, attempts: int = 8) -> Any:
    """A boto3 client. Credentials, and the region where none is given, come from boto3's own chain (environment, profile, role).

    Raises:
        ConfigError: there is no region, or the endpoint is not a URL.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        retries={"mode": "adaptive", "max_attempts": attempts},
        max_pool_connections=connections,
        connect_timeout=10,
        read_timeout=60,
    )
    try:
        return boto3.Session(region_name=region).client(service, endpoint_url=endpoint_url, config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(
            f"cannot set up {service}: {one_line(error)}; set CSIFT_AWS_REGION, or correct CSIFT_AWS_ENDPOINT_URL"
        ) from None


def aws_error(doing: str, error: Any) -> str:
    """What a botocore error means, in one line that ends in what to do."""
    said = (getattr(error, "response", None) or {}).get("Error", {})  # a lost connection has a response that is None
    code = said.get("Code") or type(error).__name__
    message = " ".join((said.get("Message") or str(error)).split())
    return f"{doing} failed: {code}: {message}; {FIXES.get(code, 'try again later')}"


def one_line(error: Exception) -> str:
    """An error's text without line breaks, cut at 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def in_parallel(call: Callable[[Item], Result], items: Sequence[Item], workers: int) -> list[Result]:
    """`call` of each item, in order, `workers` at a time. At the first error nothing more is started, since calls cost money."""
    with ThreadPoolExecutor(workers) as pool:
        try:
            futures = [pool.submit(call, item) for item in items]
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()  # raises the first error
            return [future.result() for future in futures]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
