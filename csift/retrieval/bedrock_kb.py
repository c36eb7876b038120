"""Amazon Bedrock Knowledge Bases as a retriever.

Not covered: filling one. AWS does that from the knowledge base's own data source, so this has `search` and no `sync`.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from csift.exceptions import StorageError
from csift.hashing import content_id
from csift.retrieval.aws import aws_client, aws_error, in_parallel
from csift.schemas import Hit


class BedrockKnowledgeBase:
    """A knowledge base, searched by its vectors; `concurrency` questions are asked at once.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_agent-runtime_Retrieve.html
    A hit's document is the attribute `document_id` of the source's metadata, or else where the source is (an s3:// URI, a page's
    URL); its chunk is the attribute `chunk_id`, or else Bedrock's own chunk id, or else a hash of document and text.
    Throttled and failed calls are retried by botocore, in its adaptive mode.
    """

    def __init__(
        self, knowledge_base_id: str, region: str | None = None, endpoint_url: str | None = None, concurrency: int = 8
    ) -> None:
        self.id = f"bedrock-kb:{knowledge_base_id}"
        self._knowledge_base = knowledge_base_id
        self._region = region
        self._endpoint_url = endpoint_url
        self._concurrency = concurrency

    @cached_property
    def _client(self) -> Any:
        return aws_client("bedrock-agent-runtime", self._region, self._endpoint_url, self._concurrency)

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        """The k chunks (at most 100) most relevant to each question, best first; ties by chunk id.

        Raises:
            ConfigError: there is no AWS region.
            StorageError: AWS refused, the knowledge base is empty, or it holds what is not text; says what to do.
        """
        if not questions:
            return []
        client = self._client  # made once, before threads ask for it
        return in_parallel(lambda question: self._retrieve(client, question, k), questions, self._concurrency)

    def _retrieve(self, client: Any, question: str, k: int) -> list[Hit]:
        from botocore.exceptions import BotoCoreError, ClientError

        request: dict[str, Any] = {
            "knowledgeBaseId": self._knowledge_base,
            "retrievalQuery": {"text": question},
            "retrievalConfiguration": {"vectorSearchConfiguration": {"numberOfResults": k}},
        }
        hits: list[Hit] = []
        while len(hits) < k:
            try:
                page = client.retrieve(**request)
            except (ClientError, BotoCoreError) as error:
                raise StorageError(aws_error(f"searching knowledge base {self._knowledge_base}", error)) from None
            hits += [self._hit(result) for result in page["retrievalResults"]]
            if not (token := page.get("nextToken")):
                break
            request["nextToken"] = token
        if not hits:  # a search by vectors always finds something, unless there is nothing
            raise StorageError(f"knowledge base {self._knowledge_base} is empty; sync its data source in Bedrock's console")
        return sorted(hits, key=lambda hit: (-hit.score, hit.chunk_id))[:k]

    def _hit(self, result: dict[str, Any]) -> Hit:
        metadata = result.get("metadata", {})
        text = result["content"].get("text")
        document = metadata.get("document_id") or _place(result.get("location", {})) or result.get("documentId")
        score = result.get("score")
        for value, name in ((text, "text"), (document, "a document"), (score, "a score")):
            if value is None:
                kind = result["content"].get("type", "TEXT")
                raise StorageError(
                    f"knowledge base {self._knowledge_base} gave a {kind} result without {name}; csift needs one of texts"
                )
        chunk = metadata.get("chunk_id") or metadata.get("x-amz-bedrock-kb-chunk-id") or content_id("chunk", [document, text])
        return Hit(chunk_id=str(chunk), document_id=str(document), text=text, score=score)


def _place(location: dict[str, Any]) -> str | None:
    """The URI, URL or id inside a location such as {"type": "S3", "s3Location": {"uri": ...}}."""
    inner: dict[str, str] = next((value for key, value in location.items() if key != "type"), {})
    return next(iter(inner.values()), None)
