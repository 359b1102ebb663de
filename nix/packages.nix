# packages, apps and the formatter.
{ inputs, ... }:
{
  perSystem =
    {
      lib,
      pkgs,
      ...
    }:
    let
      hermes = (inputs.self.overlays.default pkgs pkgs).hermes-agent;
    in
    {
      packages = {
        default = hermes;
        messaging = hermes.override { extraDependencyGroups = [ "messaging" ]; };
        full = hermes.override { extraDependencyGroups = hermes.availableGroups; };
        inherit (hermes) configKeys configSchema;
        options-doc = pkgs.callPackage ./options-doc.nix { inherit (inputs) self; };
      };

      apps =
        let
          app = name: {
            type = "app";
            program = lib.getExe' hermes name;
            meta.description = "hermes-agent: ${name}";
          };
        in
        {
          default = app "hermes";
          hermes = app "hermes";
          hermes-acp = app "hermes-acp";
          hermes-agent = app "hermes-agent";
        };

      formatter = pkgs.nixfmt-tree or pkgs.nixfmt;
    };
}
