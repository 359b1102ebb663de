# The configuration of the booted machine whose unit keeps a container; see container_scenario.py.
{ lib, ... }:
{
  imports = [ ./machine.nix ];
  services.hermes-agent = {
    credentials = lib.mkForce { };
    container = {
      enable = true;
      image = "testbed/debian:trixie";
    };
  };
}
