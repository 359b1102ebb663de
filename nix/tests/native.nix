# The unit on a whole NixOS machine: the same scenario that tests/system boots without one.
{ self }:
{
  name = "hermes-agent-native";

  nodes.machine =
    { pkgs, ... }:
    {
      imports = [
        self.nixosModules.default
        ../../tests/system/nix/machine.nix
      ];
      environment.systemPackages = [ pkgs.python3 ];
      virtualisation.memorySize = 2048;
    };

  testScript = ''
    machine.wait_for_unit("multi-user.target")
    print(machine.succeed(
        "python3 ${../../tests/system/nix/scenario.py} ${../../tests/system/nix/model.yaml}",
        timeout=400,
    ))
  '';
}
