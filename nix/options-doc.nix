# All options of the NixOS module as Markdown.
{
  self,
  lib,
  pkgs,
  writeText,
}:
let
  inherit (pkgs.stdenv.hostPlatform) system;
  # Only the options are looked at, so this evaluates on any system.
  evaluated = self.inputs.nixpkgs.lib.nixosSystem {
    system = if lib.hasSuffix "-linux" system then system else "x86_64-linux";
    modules = [
      self.nixosModules.default
      { system.stateVersion = "26.05"; }
    ];
  };

  text = value: lib.replaceStrings [ "\n" ] [ " " ] (value.text or (lib.generators.toPretty { } value));
  field = option: name: lib.optionalString (option ? ${name}) "- ${name}: `${text option.${name}}`\n";
  prose = value: lib.trim (if lib.isAttrs value then value.text else value);

  entry =
    option:
    "## `${option.name}`\n\n"
    + "${prose (option.description or "")}\n\n"
    + "- type: ${option.type or "unspecified"}\n"
    + field option "default"
    + field option "example";

  shown =
    option:
    (option.visible or true) != false
    && !(option.internal or false)
    && !(lib.hasInfix "._module." option.name)
    # Instances have the same options.
    && !(lib.hasPrefix "services.hermes-agent.instances." option.name);
  options = lib.filter shown (lib.optionAttrSetToDocList evaluated.options.services.hermes-agent);
in
writeText "hermes-agent-options.md" (
  "# Options of services.hermes-agent\n\n" + lib.concatMapStringsSep "\n" entry options
)
