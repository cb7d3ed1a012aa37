"""The name of every object in the store, and of every entry in the journal, in one place."""

from __future__ import annotations

import hashlib
import re

from penstock.model import ChunkId, Plan, StreamKey

# ---- objects


def pipeline_key(digest: str) -> str:
    return f"pipelines/{digest}.yaml"


def raw_prefix(pipeline: str, stream: str, run_id: str = "") -> str:
    return f"raw/{pipeline}/{stream}/" + (f"{run_id}/" if run_id else "")


def chain_prefix(key: StreamKey, chunk: ChunkId) -> str:
    """The folder of the chain that the chunk is a link of."""
    attempt = f".{chunk.attempt}" if chunk.attempt else ""
    return f"{raw_prefix(key.pipeline, key.stream, chunk.run_id)}{chunk.slice:04d}{attempt}/"


def link_key(key: StreamKey, chunk: ChunkId) -> str:
    return f"{chain_prefix(key, chunk)}{chunk.number:06d}.json"


def raw_data_key(key: StreamKey, chunk: ChunkId, attempt: str) -> str:
    return f"{chain_prefix(key, chunk)}{chunk.number:06d}-{attempt}.parquet"


def slice_manifest_key(key: StreamKey, run_id: str, number: int) -> str:
    return f"{raw_prefix(key.pipeline, key.stream, run_id)}{number:04d}/manifest.json"


_LINK = re.compile(r"/(\d{4,})(?:\.(\w+))?/(\d{6,})\.json$")


def chunk_of_link(stream: str, run_id: str, key: str) -> ChunkId | None:
    """The chunk whose link stands at `key`; None if it is no link."""
    found = _LINK.search(key)
    if not found:
        return None
    return ChunkId(stream, run_id, int(found[1]), found[2] or "", int(found[3]))


def staging_prefix(plan: Plan) -> str:
    return (
        f"staging/{plan.key.pipeline}/{plan.key.stream}/ingest_date={plan.ingest_date}/"
        f"source={plan.source}/{plan.run_id}/"
    )


def _chunk_name(chunk: ChunkId, generation: int) -> str:
    attempt = f".{chunk.attempt}" if chunk.attempt else ""
    return f"{chunk.slice:04d}{attempt}-{chunk.number:06d}-g{generation}"


def commit_key(plan: Plan, chunk: ChunkId, generation: int) -> str:
    return f"{staging_prefix(plan)}{_chunk_name(chunk, generation)}.json"


def staged_data_key(plan: Plan, chunk: ChunkId, generation: int, attempt: str, part: int) -> str:
    return f"{staging_prefix(plan)}{_chunk_name(chunk, generation)}-{attempt}-{part}.parquet"


def quarantine_prefix(plan: Plan) -> str:
    return f"quarantine/{plan.key.pipeline}/{plan.key.stream}/{plan.run_id}/"


def quarantine_key(plan: Plan, chunk: ChunkId, generation: int, attempt: str, part: int) -> str:
    return f"{quarantine_prefix(plan)}{_chunk_name(chunk, generation)}-{attempt}-{part}.parquet"


def receipt_prefix(plan: Plan) -> str:
    return f"receipts/{plan.key.pipeline}/{plan.key.stream}/{plan.run_id}/"


def receipt_key(plan: Plan, load_id: str) -> str:
    return f"{receipt_prefix(plan)}{load_id}.json"


# ---- journal entries


def head_entry(key: StreamKey) -> str:
    return f"head/{key}"


def plan_entries(key: StreamKey) -> str:
    return f"plan/{key}/"


def plan_entry(key: StreamKey, seq: int) -> str:
    return f"plan/{key}/{seq:012d}"


def waiting_entries(key: StreamKey) -> str:
    return f"waiting/{key}/"


def waiting_entry(key: StreamKey, trigger_id: str) -> str:
    return f"waiting/{key}/{_short(trigger_id)}"


def trigger_entries(key: StreamKey) -> str:
    return f"trigger/{key}/"


def trigger_entry(key: StreamKey, trigger_id: str) -> str:
    return f"trigger/{key}/{_short(trigger_id)}"


def claim_entries(key: StreamKey) -> str:
    return f"claim/{key}/"


def claim_entry(key: StreamKey, path: str) -> str:
    return f"claim/{key}/{_short(path)}"


def unsettled_entries(key: StreamKey) -> str:
    return f"unsettled/{key}/"


def unsettled_entry(key: StreamKey, seq: int) -> str:
    return f"unsettled/{key}/{seq:012d}"


def generation_entries(key: StreamKey, run_id: str) -> str:
    return f"generation/{key}/{run_id}/"


def generation_entry(key: StreamKey, chunk: ChunkId) -> str:
    return f"generation/{key}/{_after_stream(chunk)}"


def rejection_entries(key: StreamKey, run_id: str) -> str:
    return f"rejected/{key}/{run_id}/"


def rejection_entry(key: StreamKey, chunk: ChunkId) -> str:
    return f"rejected/{key}/{_after_stream(chunk)}"


def discarded_entries(key: StreamKey, run_id: str) -> str:
    return f"discarded/{key}/{run_id}/"


def discarded_entry(key: StreamKey, chunk: ChunkId) -> str:
    """Who decided that the quarantined rows of a chunk need no more attention, and why."""
    return f"discarded/{key}/{_after_stream(chunk)}"


def held_entry(key: StreamKey, seq: int) -> str:
    return f"held/{key}/{seq:012d}"


def contract_entries(key: StreamKey) -> str:
    return f"contract/{key}/"


def contract_entry(key: StreamKey, version: int) -> str:
    return f"contract/{key}/{version:06d}"


def closing_entry(key: StreamKey, seq: int) -> str:
    return f"closing/{key}/{seq:012d}"


def warehouse_entry(pipeline: str, environment: str) -> str:
    """The id of the warehouse that this pipeline last loaded into."""
    return f"warehouse/{pipeline}/{environment}"


def _after_stream(chunk: ChunkId) -> str:
    return str(chunk).split("/", 1)[1]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
