# The unit on a whole NixOS machine: the scenario that tests/system boots without one, then what only a
# whole machine can show: an upgrade, garbage collection, and a setting that leaves and comes back.
{ self }:
{
  name = "hermes-agent-native";

  nodes.machine =
    { lib, pkgs, ... }:
    {
      imports = [
        self.nixosModules.default
        ../../tests/system/nix/machine.nix
      ];
      services.hermes-agent.settings.agent.max_turns = 7;
      specialisation.upgraded.configuration = {
        services.hermes-agent.settings.agent.max_turns = lib.mkForce null;
        services.hermes-agent.settings.display.skin = "mono";
        services.hermes-agent.extraArgs = lib.mkForce [ ];
      };
      environment.systemPackages = [ pkgs.python3 ];
      virtualisation.memorySize = 2048;
    };

  testScript = ''
    config = "/var/lib/hermes/.hermes/config.yaml"

    def switch(to=""):
        machine.succeed(f"/run/booted-system{to}/bin/switch-to-configuration test >&2")
        machine.wait_for_unit("hermes-agent.service")
        machine.wait_until_succeeds("curl -sf http://127.0.0.1:8642/health", timeout=60)

    machine.wait_for_unit("multi-user.target")
    print(machine.succeed(
        "python3 ${../../tests/system/nix}/scenario.py ${../../tests/system/nix}/model.yaml",
        timeout=400,
    ))
    machine.succeed("rm /var/lib/hermes/.hermes/.env")  # the link that the scenario's last step left

    with subtest("an upgrade takes a removed setting out and leaves what people added"):
        switch()
        machine.succeed(f"grep -q 'max_turns: 7' {config}")
        machine.succeed(f"printf 'custom_key: mine\\n' >>{config}")
        before = machine.succeed("systemctl show -P MainPID hermes-agent").strip()
        switch("/specialisation/upgraded")
        assert before != machine.succeed("systemctl show -P MainPID hermes-agent").strip()
        machine.fail(f"grep -q max_turns {config}")
        machine.succeed(f"grep -q 'skin: mono' {config}", f"grep -q 'custom_key: mine' {config}")

    with subtest("garbage collection leaves a service that works"):
        machine.succeed("nix-collect-garbage -d")
        machine.succeed("systemctl restart hermes-agent")
        machine.wait_until_succeeds("curl -sf http://127.0.0.1:8642/health", timeout=60)

    with subtest("a rollback brings the setting back"):
        switch()
        machine.succeed(f"grep -q 'max_turns: 7' {config}", f"grep -q 'custom_key: mine' {config}")
        machine.fail(f"grep -q 'skin: mono' {config}")
  '';
}
