"""How the known command-line agents are run, and where their answers stand. Any of it can be set otherwise.

What an agent does besides answering (reading, searching, running tools) is between it and its own settings; here they
are asked for text and given no leave to write.
"""

from __future__ import annotations

from typing import Any

from models.endpoint import CommandSpec

AGENTS: dict[str, dict[str, Any]] = {
    "claude": {
        "run": ["claude", "-p", "--output-format", "stream-json", "--verbose"],
        "model_args": ["--model", "{model}"],
        "check": ["claude", "--version"],
        "output": "jsonl",
        "text": ["/result"],
        "error": ["/is_error"],
        "finish": "/result",
        "prompt_tokens": [
            "/usage/input_tokens",
            "/usage/cache_creation_input_tokens",
            "/usage/cache_read_input_tokens",
        ],
        "completion_tokens": "/usage/output_tokens",
        "cached_tokens": "/usage/cache_read_input_tokens",
        "env": ["ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CONFIG_DIR"],
    },
    "codex": {
        "run": ["codex", "exec", "--json", "--skip-git-repo-check", "--sandbox", "read-only", "-"],
        "model_args": ["--model", "{model}"],
        "check": ["codex", "--version"],
        "output": "jsonl",
        "where": {"/item/type": ["agent_message"]},
        "text": ["/item/text"],
        "error": ["/error"],
        "finish": "/usage",
        "prompt_tokens": ["/usage/input_tokens"],
        "completion_tokens": "/usage/output_tokens",
        "cached_tokens": "/usage/cached_input_tokens",
        "env": ["OPENAI_API_KEY", "CODEX_API_KEY", "CODEX_HOME"],
    },
    "gemini": {
        "run": ["gemini", "--output-format", "json"],
        "model_args": ["--model", "{model}"],
        "check": ["gemini", "--version"],
        "output": "json",
        "text": ["/response"],
        "error": ["/error"],
        "env": ["GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_CLOUD_PROJECT"],
    },
}
"""`model_args` stand before a last `-`, which says that the prompt is on standard input."""


def described(spec: CommandSpec) -> CommandSpec:
    """With what its agent is known to need filled in. Names under `env` are added, all else is replaced."""
    if spec.agent is None:
        return spec.model_copy(update={"output": spec.output or "text"})
    known = AGENTS[spec.agent]
    given = {name: getattr(spec, name) for name in spec.model_fields_set}
    merged = known | {name: value for name, value in given.items() if name != "agent" and value is not None}
    merged["env"] = [*known["env"], *spec.env]
    return CommandSpec.model_validate(merged | {"agent": spec.agent})
