# Entering the development shell: .venv follows uv.lock. The stamp makes every entry but the first instant.
unset PYTHONPATH
hermes_root=$(git rev-parse --show-toplevel 2>/dev/null || pwd)
hermes_stamp=$hermes_root/.nix-stamps/hermes-agent
hermes_wanted=$(sha256sum "$hermes_root/pyproject.toml" | cut -d' ' -f1):$(sha256sum "$hermes_root/uv.lock" | cut -d' ' -f1)
if [ "$(cat "$hermes_stamp" 2>/dev/null)" != "$hermes_wanted" ] || [ ! -x "$hermes_root/.venv/bin/python" ]; then
  echo "hermes-agent: bringing .venv up to date with uv.lock" >&2
  if (cd "$hermes_root" && uv sync --frozen --all-extras --quiet); then
    mkdir -p "$hermes_root/.nix-stamps"
    printf '%s' "$hermes_wanted" >"$hermes_stamp"
  else
    echo "hermes-agent: uv sync failed; run it again: uv sync --frozen --all-extras" >&2
  fi
fi
export VIRTUAL_ENV=$hermes_root/.venv
export PATH=$hermes_root/.venv/bin:$PATH
unset hermes_root hermes_stamp hermes_wanted
