"""Infrastructure settings, read from the environment (prefix CSIFT_): where things are and how to reach them, never what to
do. In a container a secret is better a file: /run/secrets/csift_openai_api_key stands for CSIFT_OPENAI_API_KEY where that is not
set."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from csift.exceptions import ConfigError

SECRETS = Path("/run/secrets")  # where Docker and Podman mount them


class Settings(BaseSettings):
    """Read once per process by `settings()`; secrets are SecretStr and never leave the process."""

    model_config = SettingsConfigDict(env_prefix="CSIFT_", frozen=True)

    data_dir: Path = Field(Path(".csift"), description="Folder of the embedded Postgres, the index, artifacts and reports")
    database_url: SecretStr | None = Field(None, description="Any Postgres through psycopg2; without it an embedded one starts")
    database_patience: float = Field(60.0, ge=0, description="Seconds that Postgres may be away in a run, as when it restarts")
    store_url: str | None = Field(None, description="Artifacts, reports and data cards: s3://bucket/prefix, or a folder")
    openai_base_url: str | None = Field(None, description="Server of openai/... models (vLLM, Ollama ...); without it OpenAI")
    openai_api_key: SecretStr | None = Field(None, description="Its key; a server of one's own may need none")
    aws_endpoint_url: str | None = Field(None, description="In place of AWS's own endpoints")
    aws_region: str | None = Field(None, description="Region of Bedrock; without it from AWS's usual settings, as the keys")
    knowledge_base_id: str | None = Field(None, description="Bedrock knowledge base that bedrock-knowledge-base means")
    chroma_url: str | None = Field(None, description="Chroma server that chroma-server means, http://host:port")
    alert_webhook: SecretStr | None = Field(None, description="URL that alerts are posted to, as JSON")
    alert_slack: SecretStr | None = Field(None, description="Slack webhook that alerts are written to")
    alert_email: str | None = Field(None, description="Addresses that alerts are mailed to, with commas between, by SendGrid")
    alert_email_from: str | None = Field(None, description="Sender of those mails")
    sendgrid_api_key: SecretStr | None = Field(None, description="SendGrid's key")
    log_format: Literal["text", "json"] = Field("text", description="Of what the processes of `csift up` log")
    vllm_url: str | None = Field(None, description="vLLM server that answers for `csift serve`, http://host:port")
    session_secret: SecretStr | None = Field(None, description="Signs the cookies of `csift serve`; without it one is drawn")
    call_timeout: float = Field(120.0, gt=0, description="Seconds to wait for one answer of a served model")
    call_patience: float = Field(900.0, ge=0, description="Seconds that a served model which takes no calls is waited for")
    run_silence: float = Field(90.0, gt=30, description="Seconds without a heartbeat (every 30) after which a run is crashed")
    threads: int = Field(2, ge=1, description="CPU threads for inference and training")
    progress_seconds: float = Field(2.0, gt=0, description="Shortest time between two updates of a progress artifact")

    @property
    def root(self) -> Path:
        """The data folder, absolute."""
        return self.data_dir.expanduser().resolve()


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process.

    Raises:
        ConfigError: a CSIFT_ variable has an impossible value.
    """
    try:
        return Settings(_secrets_dir=SECRETS if SECRETS.is_dir() else None)
    except ValidationError as error:
        first = error.errors()[0]
        name = "CSIFT_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(f"{name}: {first['msg']}; correct this environment variable") from None
