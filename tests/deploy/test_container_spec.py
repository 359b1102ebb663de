"""What a container is to be: the spec, the options, and what counts as its structure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.core.errors import ConfigError, HermesError
from hermes_agent.deploy.container.options import known_options, parse_options
from hermes_agent.deploy.container.spec import ContainerSpec, load_container_spec, parse_container_spec
from hermes_agent.deploy.container.structure import (
    build_structure,
    describe_changes,
    image_changed,
    search_path,
    stale_variables,
)

BASE: dict[str, Any] = {
    "version": 1,
    "user": "hermes",
    "state_directory": "/var/lib/hermes",
    "home": "/var/lib/hermes/.hermes",
    "working_directory": "/var/lib/hermes/workspace",
    "package": "/nix/store/abc-hermes-agent",
}


def spec(**changes: Any) -> ContainerSpec:
    return parse_container_spec({**BASE, **changes})


def changes_of(before: ContainerSpec, after: ContainerSpec) -> list[str]:
    return describe_changes(build_structure(before).labels, build_structure(after))


def test_what_the_module_leaves_out_has_the_documented_defaults():
    found = spec()
    assert (found.backend, found.name, found.image) == ("docker", "hermes-agent", "ubuntu:24.04")
    assert found.control == Path("/var/lib/hermes-agent-container/hermes-agent")
    assert found.inside(found.home) == Path("/data/.hermes")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "version 2"),
        ({"colour": "red"}, "colour"),
        ({"name": "--privileged"}, "name"),
        ({"name": "a/b"}, "name"),
        ({"image": "--rm"}, "image"),
        ({"exec_user": "root"}, "exec_user"),
        ({"exec_user": "a:b"}, "exec_user"),
        ({"uid": 0, "gid": 0}, "uid"),
        ({"uid": 5}, "uid and gid"),
        ({"user": None}, "needs user"),
        ({"home": "/home/me/.hermes"}, "inside state_directory"),
        ({"home": "/var/lib/hermes/../../etc"}, "absolute path without"),
        ({"package": "/tmp/evil"}, "inside the store"),
        ({"environment": {"A=B": "c"}}, "not a variable"),
        ({"state_directory": "relative"}, "absolute"),
        ({"arguments": ["a\0b"]}, "zero byte"),
        ({"drain_seconds": -1}, "drain_seconds"),
    ],
)
def test_a_wrong_part_is_named(changes: dict[str, object], said: str):
    with pytest.raises(ConfigError) as caught:
        spec(**changes)
    assert said in " ".join(caught.value.lines)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', '{"version": 1}'])
def test_a_file_that_is_no_spec_is_an_error_and_not_a_traceback(tmp_path: Path, text: str):
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(HermesError):
        load_container_spec(path)
    with pytest.raises(HermesError):
        load_container_spec(tmp_path / "missing.json")


def test_options_of_docker_create_are_understood():
    found = parse_options(
        [
            *("--memory=4g", "-v", "/srv:/srv:ro", "--gpus", "all", "--cpus=1.5", "--device=/dev/kvm"),
            *("-e", "A=b=c", "--ulimit=nofile=1024:2048", "--tmpfs=/tmp:size=1g", "-p", "127.0.0.1:80:8080"),
            *("--privileged", "--add-host=a:1.2.3.4", "--network", "bridge", "--label=x=y", "--hostname=box"),
        ]
    )
    assert found.volumes == ["/srv:/srv:ro"]
    assert found.environment == {"A": "b=c"}
    assert found.ports == {"8080/tcp": ("127.0.0.1", 80)}
    assert found.network == "bridge"
    assert found.hostname == "box"
    assert found.labels == {"x": "y"}
    assert found.host == {
        "mem_limit": "4g",
        "device_requests": [{"Capabilities": [["gpu"]], "Count": -1}],
        "nano_cpus": 1_500_000_000,
        "devices": ["/dev/kvm"],
        "ulimits": [{"Name": "nofile", "Soft": 1024, "Hard": 2048}],
        "tmpfs": {"/tmp": "size=1g"},
        "privileged": True,
        "extra_hosts": ["a:1.2.3.4"],
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name=x"], "set by hermes-agent-container itself"),
        (["--entrypoint", "/bin/sh"], "set by hermes-agent-container itself"),
        (["--memroy=1g"], "not an option"),
        (["--memory 4g"], "one option a word"),
        (["--memory"], "needs a value"),
        (["--cpus=many"], "cannot be used"),
        (["--label=hermes-agent.container=other"], "own"),
        (["-e", "SECRET"], "NAME=VALUE"),
        (["stray"], "not an option"),
    ],
)
def test_options_that_cannot_be_are_named(words: list[str], said: str):
    with pytest.raises(ConfigError) as caught:
        parse_options(words)
    assert said in " ".join(caught.value.lines)


@given(st.lists(st.one_of(st.sampled_from(known_options()), st.text(max_size=20)), max_size=6))
def test_no_words_at_all_make_a_traceback(words: list[str]):
    try:
        parse_options(words)
    except ConfigError as error:
        assert error.lines


def test_every_option_that_is_documented_is_known_and_the_other_way_round():
    text = (Path(__file__).parents[2] / "docs/container.md").read_text()
    assert [option for option in known_options() if f"`{option}`" not in text] == []


def test_what_runs_is_no_part_of_the_structure():
    before = spec()
    same = spec(
        package="/nix/store/new-hermes-agent",
        tools="/nix/store/new-tools",
        arguments=["-v"],
        extra_roots=["/nix/store/x"],
        drain_seconds=5,
        preserve_layer=False,
        user="other",
        uid=5,
        gid=6,
        pull="never",
        socket="/x.sock",
    )
    assert changes_of(before, same) == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"image": "debian:13"}, "image: ubuntu:24.04 -> debian:13"),
        ({"extra_volumes": ["/srv:/srv"]}, "volumes: with /srv:/srv"),
        ({"extra_options": ["--memory=1g"]}, "options: with --memory=1g"),
        ({"sudo": False}, "sudo: True -> False"),
        ({"backend": "podman"}, "backend: docker -> podman"),
        ({"network": "bridge"}, "network: host -> bridge"),
        ({"environment": {"A": "b"}}, "environment: A"),
        ({"exec_user": "agent"}, "user: hermes -> agent"),
    ],
)
def test_a_change_of_structure_says_which_input_changed(changes: dict[str, object], line: str):
    assert line in changes_of(spec(), spec(**changes))
    assert any(
        "without" in back or "->" in back or ":" in back for back in changes_of(spec(**changes), spec())
    )


def test_the_identity_does_not_depend_on_the_order_of_writing():
    one = spec(environment={"A": "1", "B": "2"}, extra_volumes=["/a:/a", "/b:/b"])
    other = spec(environment={"B": "2", "A": "1"}, extra_volumes=["/b:/b", "/a:/a"])
    assert build_structure(one).identity == build_structure(other).identity


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=30), max_size=4), st.text(max_size=60))
def test_labels_of_any_kind_are_only_another_structure(labels: dict[str, str], text: str):
    wanted = build_structure(spec())
    hostile = {**labels, "hermes-agent.structure": text}
    assert describe_changes(hostile, wanted)
    assert not image_changed(hostile, wanted)
    assert stale_variables(hostile, wanted) == []


@pytest.mark.parametrize("facts", ["[]", "5", "null", '{"environment": 5}', '{"image": ["x"], "volumes": 3}'])
def test_labels_that_are_json_of_another_shape_are_survived(facts: str):
    wanted = build_structure(spec())
    labels = {"hermes-agent.structure": facts}
    assert describe_changes(labels, wanted)
    image_changed(labels, wanted)
    assert isinstance(stale_variables(labels, wanted), list)


@pytest.mark.parametrize(
    ("volume", "said"),
    [
        ("/var/lib/hermes/x:/x", "in the state directory"),
        ("/x:/data", "container's own"),
        ("/x:/opt/hermes-agent/notify", "container's own"),
        ("/x:/home/hermes", "container's own"),
        ("/x:/", "container's own"),
        ("/x:/nix/store", "more than once"),
        ("./x:/x", "neither"),
        ("~/x:/x", "neither"),
        ("/x", "not a mount"),
        ("/x:y", "not a mount"),
        ("/x/../etc:/y", "'..'"),
        ("/x:/a/../../data", "not a mount"),
    ],
)
def test_mounts_that_would_harm_are_refused(volume: str, said: str):
    with pytest.raises(ConfigError) as caught:
        build_structure(spec(extra_volumes=[volume]))
    assert said in " ".join(caught.value.lines)


@pytest.mark.parametrize(
    ("volumes", "is_fine"),
    [
        (["/srv/a:/a", "/srv/a/b:/b"], False),
        (["/srv/a/b:/b:ro", "/srv/a:/a"], False),
        (["/srv/a:/a:ro", "/srv/a/b:/b"], True),
        (["/srv/a:/a:z,ro", "/srv/a/b:/b"], True),
        (["/srv/a:/a", "/srv/ab:/b", "/srv/a:/again"], True),
        (["/srv/work/x:/x"], False),
    ],
)
def test_nothing_below_what_the_agent_may_write_is_mounted(volumes: list[str], is_fine: bool):
    wanted = spec(extra_volumes=volumes, working_directory="/srv/work")
    if is_fine:
        build_structure(wanted)
        return
    with pytest.raises(ConfigError, match="mounted, too"):
        build_structure(wanted)


def test_mounts_in_the_users_home_are_put_where_the_home_really_is():
    binds = build_structure(spec(extra_volumes=["/srv/p:/home/hermes/p:ro", "cache:/var/cache/x"])).binds
    assert "/srv/p:/data/home/p:ro" in binds
    assert "cache:/var/cache/x" in binds


def test_a_working_directory_elsewhere_is_mounted_under_its_own_name():
    found = build_structure(spec(working_directory="/srv/work"))
    assert "/srv/work:/srv/work" in found.binds
    assert found.environment["MESSAGING_CWD"] == "/srv/work"


def test_without_sudo_there_are_few_capabilities_and_no_new_ones():
    host = build_structure(spec(sudo=False)).host_options(sudo=False)
    assert host["cap_drop"] == ["ALL"]
    assert "SYS_ADMIN" not in host["cap_add"]
    assert "no-new-privileges" in host["security_opt"]


def test_devices_are_only_made_by_whoever_was_told_to():
    def dropped(*options: str) -> object:
        return build_structure(spec(extra_options=options)).host_options(sudo=True).get("cap_drop")

    assert dropped() == ["MKNOD"]
    assert dropped("--cap-drop=NET_RAW") == ["NET_RAW", "MKNOD"]
    assert dropped("--cap-add=MKNOD") is None
    assert dropped("--privileged") is None


def test_what_the_user_installed_is_found_first_and_what_the_package_brings_last():
    path = search_path(spec(), "/opt/x/bin:/usr/bin").split(":")
    assert path[0] == "/home/hermes/.local/bin"
    assert path[-3:] == ["/opt/x/bin", "/usr/bin", "/opt/hermes-agent/tools/bin"]
    assert search_path(spec(), ":".join(path)) == ":".join(path)


def test_the_documented_fields_are_those_of_the_spec():
    text = (Path(__file__).parents[2] / "docs/container.md").read_text()
    assert [name for name in ContainerSpec.model_fields if f"`{name}`" not in text] == []
    json.dumps(ContainerSpec.model_json_schema())
