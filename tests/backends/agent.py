"""A command-line agent for tests: asks a simulator what it reads on standard input, prints what it hears.

python agent.py FORM URL MODEL   with FORM one of text, json, claude, codex
"""

import json
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    form, url, model = sys.argv[1:4]
    prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 1000}
    asked = Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urlopen(asked, timeout=60) as reply:
            page = json.load(reply)
    except HTTPError as error:
        sys.stderr.write(f"some words before\nthe provider answered {error.code}: {error.read().decode()}\n")
        return 1
    text, usage = page["choices"][0]["message"]["content"] or "", page["usage"]
    counts = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
    match form:
        case "text":
            say(text)
        case "json":
            say("Loaded cached credentials.")
            say(json.dumps({"response": text, "stats": {}}))
        case "claude":
            say(json.dumps({"type": "system", "subtype": "init"}))
            say(json.dumps({"type": "assistant", "message": {"content": [{"type": "text", "text": "Hm."}]}}))
            extra = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 3}
            done = {"type": "result", "is_error": False, "result": text, "usage": {**counts, **extra}}
            say("a warning that is no JSON")
            say(json.dumps(done))
        case "codex":
            items = [{"type": "reasoning", "text": "Hm."}, {"type": "agent_message", "text": text}]
            for item in items:
                say(json.dumps({"type": "item.completed", "item": item}))
            say(json.dumps({"type": "turn.completed", "usage": {**counts, "cached_input_tokens": 2}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
