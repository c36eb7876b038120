"""OpenTelemetry spans of model calls, below those that Prefect makes of flow and task runs. Set up by OpenTelemetry's own
variables alone: without OTEL_EXPORTER_OTLP_ENDPOINT nothing is sent. No prompt and no answer is in a span.

Names of attributes: opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace

from csift.exceptions import ConfigError
from csift.schemas import Generation
from csift.telemetry.context import current

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")


def install() -> None:
    """Sends this process's spans to where the variables say. To be called before Prefect begins a run; where somebody has set
    up tracing already (opentelemetry-instrument), nothing is changed.

    Raises:
        ConfigError: another protocol than grpc is asked for.
    """
    asked = any(os.environ.get(name) for name in ENDPOINTS)
    if not asked or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    for name in PROTOCOLS:
        if os.environ.get(name, "grpc") != "grpc":
            asked_for = f"{name} is {os.environ[name]} and csift sends by grpc"
            raise ConfigError(f"{asked_for}; remove it, and name the collector's port for grpc")
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "csift"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


@contextmanager
def call_span(model: str, role: str) -> Iterator[trace.Span]:
    """A span around one call; an error is told by its type alone, as its message may quote the prompt."""
    about = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model, "csift.role": role}
    about |= {f"csift.{name}": value for name, value in current().items()}
    tracer = trace.get_tracer("csift")
    with tracer.start_as_current_span(
        f"chat {model}", kind=trace.SpanKind.CLIENT, attributes=about, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_status(trace.StatusCode.ERROR)
            span.set_attribute("error.type", type(error).__name__)
            raise


def answered(span: trace.Span, reply: Generation) -> None:
    """What came back: tokens, and how it ended."""
    span.set_attributes({
        "gen_ai.usage.input_tokens": reply.tokens_in,
        "gen_ai.usage.output_tokens": reply.tokens_out,
        "gen_ai.response.finish_reasons": [reply.finish],
    })  # fmt: skip
