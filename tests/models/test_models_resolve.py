"""Who is asked: arguments, configuration, environment, defaults."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from models_loopback import ask, delta, loopback, sse

from hermes_agent.config.environ import Environ
from hermes_agent.config.paths import Home
from hermes_agent.config.settings import Settings
from hermes_agent.core.errors import ProviderSetupError
from hermes_agent.core.messages import UserMessage
from hermes_agent.core.model import ModelInfo, ModelRequest
from hermes_agent.models.catalogue import PROVIDERS, get_provider
from hermes_agent.models.profiles import ends_naturally, profile_for
from hermes_agent.models.resolve import (
    DIALECTS,
    Target,
    describe,
    resolve_auxiliary,
    resolve_model,
    resolve_target,
)

ROUTER = {"OPENROUTER_API_KEY": "r"}


def who(
    settings: dict[str, object] | None = None,
    variables: dict[str, str] | None = None,
    *,
    provider: str | None = None,
    model: str | None = None,
) -> ModelInfo:
    return describe(Settings(settings or {}), Environ(variables or {}), provider=provider, model=model)


def target(settings: dict[str, object], variables: dict[str, str], home: Home | None = None) -> Target:
    return resolve_target(Settings(settings), Environ(variables), home=home)


def test_ids_and_aliases_are_unique_and_addresses_are_urls() -> None:
    names = [name for each in PROVIDERS for name in (each.id, *each.aliases)]
    assert len(names) == len(set(names))
    assert all(
        not each.base_url or each.base_url.startswith(("https://", "http://127.0.0.1:")) for each in PROVIDERS
    )
    assert {each.api_mode for each in PROVIDERS} <= {*DIALECTS, "demo"}


@pytest.mark.parametrize(
    ("provider", "name", "base"),
    [
        ("openrouter", "OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
        ("zai", "Z_AI_API_KEY", "https://api.z.ai/api/paas/v4"),
        ("kimi-coding", "KIMI_CODING_API_KEY", "https://api.moonshot.ai/v1"),
        ("minimax", "MINIMAX_API_KEY", "https://api.minimax.io/anthropic"),
        ("huggingface", "HF_TOKEN", "https://router.huggingface.co/v1"),
        ("anthropic", "CLAUDE_CODE_OAUTH_TOKEN", "https://api.anthropic.com"),
        ("copilot", "GH_TOKEN", "https://api.githubcopilot.com"),
        ("gemini", "GEMINI_API_KEY", "https://generativelanguage.googleapis.com/v1beta/openai"),
    ],
)
def test_documented_keys_and_addresses_work(provider: str, name: str, base: str) -> None:
    found = resolve_target(Settings({}), Environ({name: "k"}), provider=provider, model="m")
    assert (found.endpoint.info.base_url, found.credentials[0].secret) == (base, "k")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (ROUTER, "openrouter"),
        ({"OPENAI_API_KEY": "x", **ROUTER}, "openrouter"),
        ({"OPENAI_API_KEY": "x"}, "openai-api"),
        ({"ANTHROPIC_API_KEY": "x"}, "anthropic"),
        ({"DEEPSEEK_API_KEY": "x", "GITHUB_TOKEN": "y", "HF_TOKEN": "z"}, "deepseek"),
        ({"OPENROUTER_API_KEY": "  ", "OPENAI_API_KEY": "x"}, "openai-api"),
    ],
)
def test_auto_takes_the_first_provider_with_a_key(variables: dict[str, str], expected: str) -> None:
    assert who({}, variables).provider == expected


def test_without_any_key_the_remedy_offers_the_demo_the_setup_and_the_variables() -> None:
    for variables in ({}, {"GITHUB_TOKEN": "x"}):
        with pytest.raises(ProviderSetupError) as caught:
            who({}, variables)
        remedy = caught.value.remedy or ""
        assert all(word in remedy for word in ("--provider demo", "hermes setup", "OPENROUTER_API_KEY"))


def test_an_unknown_provider_names_the_nearest_ones() -> None:
    with pytest.raises(ProviderSetupError) as caught:
        who(provider="openruter")
    assert "'openrouter'" in (caught.value.remedy or "")
    with pytest.raises(ProviderSetupError, match="no custom provider 'nope'"):
        who(provider="custom:nope")


def test_a_missing_key_names_the_variable_and_the_place_to_get_one() -> None:
    with pytest.raises(ProviderSetupError) as caught:
        who(provider="deepseek")
    assert "DEEPSEEK_API_KEY" in " ".join(caught.value.lines)
    assert "https://" in (caught.value.remedy or "")


CUSTOM = {
    "custom_providers": [
        {"name": "box", "base_url": "http://10.0.0.5:9000/v1", "models": {"big": {"context_length": 5000}}}
    ],
    "model_aliases": {"fast": "openrouter:qwen/qwen3", "mine": "custom:box:big"},
}


@pytest.mark.parametrize(
    ("typed", "provider", "model"),
    [
        ("openrouter:anthropic/claude-x", "openrouter", "anthropic/claude-x"),
        ("or:a/b:free", "openrouter", "a/b:free"),
        ("a/b:free", "openrouter", "a/b:free"),
        ("qwen3:8b", "openrouter", "qwen3:8b"),
        ("ollama:qwen3:8b", "ollama", "qwen3:8b"),
        ("custom:box:big", "custom:box", "big"),
        ("custom:box", "custom:box", "big"),
        ("box:other", "custom:box", "other"),
        ("fast", "openrouter", "qwen/qwen3"),
        ("mine", "custom:box", "big"),
        ("OpenRouter:x", "openrouter", "x"),
    ],
)
def test_what_people_type_is_understood(typed: str, provider: str, model: str) -> None:
    info = who(CUSTOM, ROUTER, model=typed)
    assert (info.provider, info.model) == (provider, model)
    configured = who({**CUSTOM, "model": {"default": typed}}, ROUTER)
    assert (configured.provider, configured.model) == (provider, model)


def test_arguments_win_over_configuration_which_wins_over_the_environment() -> None:
    settings: dict[str, object] = {
        "model": {"provider": "deepseek", "default": "d", "base_url": "http://127.0.0.1:1/v1"}
    }
    variables = {**ROUTER, "DEEPSEEK_BASE_URL": "http://env.example/v1"}
    assert who(settings, variables).base_url == "http://127.0.0.1:1/v1"
    explicit = who(settings, variables, provider="openrouter", model="x")
    assert (explicit.provider, explicit.base_url) == ("openrouter", "https://openrouter.ai/api/v1")
    only_model = who(settings, variables, model="other")
    assert (only_model.provider, only_model.model) == ("deepseek", "other")
    without_url: dict[str, object] = {"model": {"provider": "deepseek"}}
    from_env = who(without_url, {**variables, "DEEPSEEK_API_KEY": "k"})
    assert (from_env.base_url, from_env.model) == ("http://env.example/v1", "deepseek-chat")


def test_another_provider_gets_nothing_of_the_model_section() -> None:
    settings: dict[str, object] = {
        "model": {
            "provider": "custom",
            "base_url": "http://127.0.0.1:1/v1",
            "default": "d",
            "api_key": "secret",
        }
    }
    found = resolve_target(Settings(settings), Environ(ROUTER), provider="openrouter")
    assert [each.secret for each in found.credentials] == ["r"]
    assert found.endpoint.info.model != "d"


def test_an_own_address_is_a_custom_provider_or_the_one_it_belongs_to() -> None:
    assert who({"model": {"base_url": "http://127.0.0.1:1/v1", "default": "m"}}).provider == "custom"
    router = target({"model": {"base_url": "https://openrouter.ai/api/v1/", "default": "m"}}, ROUTER)
    assert (router.endpoint.info.provider, router.credentials[0].secret) == ("openrouter", "r")


@pytest.mark.parametrize(
    "url",
    [
        "http://openrouter.ai/api/v1",
        "https://openrouter.ai.evil.example/api/v1",
        "https://openrouter.ai@evil.example/v1",
        "https://openrouter.ai:8443/api/v1",
        "https://evil.example/openrouter.ai/v1",
    ],
)
def test_an_address_that_only_looks_like_the_providers_gets_no_key(url: str) -> None:
    for provider in ("openrouter", "auto", "custom"):
        found = target({"model": {"provider": provider, "base_url": url, "default": "m"}}, ROUTER)
        assert [each.secret for each in found.credentials] == [""]


@pytest.mark.parametrize(
    "url",
    [
        "localhost:1234",
        "ftp://x/v1",
        "http://",
        "not a url",
        "http://[::1",
        "http://a b/v1",
        "http://a..b/v1",
    ],
)
def test_a_broken_address_is_named(url: str) -> None:
    with pytest.raises(ProviderSetupError, match="is not an http or https URL"):
        who({"model": {"provider": "custom", "base_url": url, "default": "m"}})


def test_a_full_path_in_the_address_is_forgiven() -> None:
    url = "http://127.0.0.1:1/v1/chat/completions"
    assert who({"model": {"base_url": url, "default": "m"}}).base_url == "http://127.0.0.1:1/v1"


def test_a_local_server_needs_a_model_name_but_no_key() -> None:
    assert who(provider="ollama", model="qwen3:8b").base_url == "http://127.0.0.1:11434/v1"
    with pytest.raises(ProviderSetupError, match="No model is named for ollama"):
        who(provider="ollama")


def test_the_dialect_follows_provider_and_address() -> None:
    keys = {"OPENAI_API_KEY": "x", "MINIMAX_API_KEY": "x", "XAI_API_KEY": "x"}
    assert who(variables=keys, provider="openai").dialect == "codex_responses"
    assert who(variables=keys, provider="xai").dialect == "codex_responses"
    assert who(variables=keys, provider="minimax").dialect == "anthropic_messages"
    stand_in = {**keys, "OPENAI_BASE_URL": "http://127.0.0.1:8000/v1"}
    assert who(variables=stand_in, provider="openai").dialect == "chat_completions"
    chosen: dict[str, object] = {"model": {"provider": "openai-api", "api_mode": "chat_completions"}}
    assert who(chosen, keys).dialect == "chat_completions"
    claude: dict[str, object] = {"model": {"base_url": "https://example.com/anthropic", "default": "m"}}
    assert who(claude).dialect == "anthropic_messages"


def test_time_outs_are_the_documented_ones_and_can_be_set_per_provider_and_model() -> None:
    plain = target({}, ROUTER).endpoint
    assert (plain.request_timeout_seconds, plain.stale_timeout_seconds) == (1800, 180)
    settings: dict[str, object] = {
        "model": {"provider": "openrouter", "default": "slow"},
        "providers": {
            "openrouter": {
                "request_timeout_seconds": 60,
                "stale_timeout_seconds": 30,
                "models": {"slow": {"stale_timeout_seconds": 90, "context_length": 777, "max_tokens": 55}},
            }
        },
    }
    own = target(settings, ROUTER).endpoint
    assert (own.request_timeout_seconds, own.stale_timeout_seconds) == (60, 90)
    assert (own.info.context_window, own.max_output_tokens) == (777, 55)
    local = target({"model": {"base_url": "http://localhost:1/v1", "default": "m"}}, {}).endpoint
    assert (local.stale_timeout_seconds, local.first_byte_timeout_seconds) == (None, None)
    assert who(CUSTOM, model="custom:box:big").context_window == 5000


def test_proxies_are_used_where_the_usual_variables_say() -> None:
    variables = {**ROUTER, "HTTPS_PROXY": "proxy.example:3128", "HTTP_PROXY": "http://proxy.example:3128"}
    assert target({}, variables).endpoint.proxy == "http://proxy.example:3128"
    assert target({}, {**variables, "NO_PROXY": "x,.openrouter.ai"}).endpoint.proxy is None
    local: dict[str, object] = {"model": {"base_url": "http://127.0.0.1:1/v1", "default": "m"}}
    assert target(local, variables).endpoint.proxy is None


def test_the_pool_of_auth_json_comes_before_the_environment(tmp_path: Path) -> None:
    home = Home(tmp_path)
    pool = [
        {"id": "b", "label": "spare", "priority": 2, "source": "manual", "access_token": "spare-key"},
        {"id": "a", "label": "work", "priority": 1, "source": "env:WORK_KEY"},
        {"id": "c", "priority": 3, "source": "env:MISSING"},
        {"id": "d", "priority": 0, "access_token": "r"},
    ]
    home.auth_file.write_text(json.dumps({"version": 1, "credential_pool": {"openrouter": pool}}))
    found = target({}, {**ROUTER, "WORK_KEY": "work-key"}, home)
    assert [each.secret for each in found.credentials] == ["r", "work-key", "spare-key"]
    assert "work-key" not in repr(found)
    assert target({}, {}, home).endpoint.info.provider == "openrouter"
    elsewhere: dict[str, object] = {
        "model": {"provider": "openrouter", "base_url": "https://e.example", "default": "m"}
    }
    assert [each.secret for each in target(elsewhere, ROUTER, home).credentials] == [""]
    stranger: dict[str, object] = {
        "model": {"provider": "openrouter", "base_url": "https://api.openai.com/v1", "default": "m"}
    }
    keys = [each.secret for each in target(stranger, {**ROUTER, "OPENAI_API_KEY": "o"}, home).credentials]
    assert keys == ["o"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"credential_pool": 3}', '{"credential_pool": {"openrouter": [1, {}]}}']
)
def test_a_broken_auth_file_is_no_obstacle(tmp_path: Path, text: str) -> None:
    home = Home(tmp_path)
    home.auth_file.write_text(text)
    assert [each.secret for each in target({}, ROUTER, home).credentials] == ["r"]


def test_a_fallback_that_is_not_set_up_is_no_obstacle() -> None:
    settings = Settings(
        {"fallback_providers": [{"provider": "nobody", "model": "x"}, {"provider": "xai", "model": "y"}]}
    )
    assert resolve_model(settings, Environ(ROUTER)).info.provider == "openrouter"


def test_the_demo_needs_nothing() -> None:
    info = who(provider="demo")
    assert (info.provider, info.is_demo) == ("demo", True)


def test_resolving_imports_no_vendor_sdk_and_opens_nothing() -> None:
    code = (
        "import sys\n"
        "from hermes_agent.config.environ import Environ\n"
        "from hermes_agent.config.settings import Settings\n"
        "from hermes_agent.models.resolve import resolve_model\n"
        "resolve_model(Settings({}), Environ({'OPENROUTER_API_KEY': 'k'}))\n"
        "bad = {'openai', 'anthropic', 'httpx', 'httpx2', 'rich'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", ["Done.", "好。", "```", "x^", "nice 🎉", "(see above)", "really?"])
def test_these_endings_are_natural(text: str) -> None:
    assert ends_naturally(text)


@pytest.mark.parametrize("text", ["and then the", "one,", "", "第一", "word word  "])
def test_these_endings_are_not(text: str) -> None:
    assert not ends_naturally(text)


def test_headers_for_one_host_are_not_sent_to_another() -> None:
    assert profile_for("nvidia", "https://integrate.api.nvidia.com/v1", "m").headers == {
        "X-BILLING-INVOKE-ORIGIN": "HermesAgent"
    }
    assert not profile_for("nvidia", "https://proxy.example/v1", "m").headers


def test_every_provider_can_be_found_by_its_aliases() -> None:
    for provider in PROVIDERS:
        assert all(get_provider(alias) is provider for alias in (*provider.aliases, provider.id.upper()))


def test_openrouter_is_told_how_to_route_and_nobody_else() -> None:
    settings: dict[str, object] = {"provider_routing": {"sort": "price"}}
    assert target(settings, ROUTER).endpoint.extra_body == {"provider": {"sort": "price"}}
    assert not target(settings, {"OPENAI_API_KEY": "x"}).endpoint.extra_body


async def test_a_task_may_have_its_own_model_and_otherwise_has_the_main_one() -> None:
    settings = Settings(
        {
            "model": {"provider": "deepseek", "default": "big"},
            "auxiliary": {
                "vision": {"provider": "openrouter", "model": "eyes"},
                "compression": {"model": "small"},
                "approval": {
                    "base_url": "http://127.0.0.1:1/v1",
                    "model": "judge",
                    "context_length": 8_000,
                },
            },
        }
    )
    environ = Environ({**ROUTER, "DEEPSEEK_API_KEY": "d"})
    assert resolve_auxiliary(settings, environ, "approval").info.context_window == 8_000
    labels = {
        task: resolve_auxiliary(settings, environ, task).info.label
        for task in ("vision", "compression", "approval", "mcp")
    }
    assert labels == {
        "vision": "openrouter:eyes",
        "compression": "deepseek:small",
        "approval": "custom:judge",
        "mcp": "deepseek:big",
    }


async def test_a_task_sends_its_own_body_and_keeps_its_own_time() -> None:
    async with loopback(sse(delta("ok", "stop"))) as server:
        task = {"base_url": server.url, "model": "judge", "extra_body": {"top_k": 3}, "timeout": 4}
        model = resolve_auxiliary(Settings({"auxiliary": {"vision": task}}), Environ({}), "vision")
        await ask(model, ModelRequest("", [UserMessage.of("hi")]))
        await model.aclose()
        assert server.requests[0].json["top_k"] == 3


def test_the_documentation_names_every_provider_with_its_keys_and_address() -> None:
    text = (Path(__file__).parents[2] / "docs" / "providers.md").read_text(encoding="utf-8")
    table = text.partition("## Catalogue")[2].splitlines()
    rows = {line.split("`")[1]: line for line in table if line.startswith("| `")}
    assert list(rows) == [provider.id for provider in PROVIDERS]
    for provider in PROVIDERS:
        row = rows[provider.id]
        assert all(f"`{name}`" in row for name in (*provider.key_names, *provider.aliases))
        assert provider.base_url in row
        assert provider.api_mode in row


@pytest.mark.parametrize("provider", ["openai-codex", "qwen-oauth", "minimax-oauth"])
def test_a_provider_that_needs_a_sign_in_says_so_or_uses_its_token(provider: str, tmp_path: Path) -> None:
    with pytest.raises(ProviderSetupError, match="sign-in"):
        who(provider=provider)
    home = Home(tmp_path)
    home.auth_file.write_text(json.dumps({"providers": {provider: {"tokens": {"access_token": "token"}}}}))
    found = resolve_target(Settings({}), Environ({}), provider=provider, home=home)
    assert [each.secret for each in found.credentials] == ["token"]


def test_an_endpoint_for_once_comes_from_the_environment() -> None:
    once = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    assert who(variables=once, provider="custom", model="m").base_url == "http://127.0.0.1:9/v1"
    assert who(variables=once, model="m").provider == "custom"
    assert who(variables={**once, **ROUTER}).provider == "openrouter"
    keyed = resolve_target(
        Settings({}), Environ({**once, **ROUTER, "OPENAI_API_KEY": "o"}), provider="custom", model="m"
    )
    assert [each.secret for each in keyed.credentials] == ["o"]
    elsewhere = target(
        {"model": {"provider": "custom", "base_url": "http://127.0.0.1:8/v1", "default": "m"}},
        {**once, "OPENAI_API_KEY": "o"},
    )
    assert [each.secret for each in elsewhere.credentials] == [""]
