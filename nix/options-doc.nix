# All options of the NixOS module as Markdown.
{
  self,
  lib,
  pkgs,
  writeText,
}:
let
  evaluated = lib.evalModules {
    modules = [
      { options.services = lib.mkOption { type = lib.types.submodule { }; visible = false; default = { }; }; }
      {
        # Only the options are looked at; what the module sets needs no NixOS.
        options.services.hermes-agent =
          (import ./module { inherit self; } {
            inherit lib pkgs;
            config.services.hermes-agent = {
              stateDir = "/var/lib/hermes";
            };
            options = { };
          }).options.services.hermes-agent;
        config._module.check = false;
      }
    ];
  };

  text = value: if value ? text then value.text else lib.generators.toPretty { } value;
  entry = option: ''
    ## `${option.name}`

    ${lib.trim (if lib.isAttrs (option.description or "") then option.description.text else option.description or "")}

    Type: ${option.type or "unspecified"}
    ${lib.optionalString (option ? default) "Default: `${lib.replaceStrings [ "\n" ] [ " " ] (text option.default)}`"}
    ${lib.optionalString (option ? example) "Example: `${lib.replaceStrings [ "\n" ] [ " " ] (text option.example)}`"}
  '';
  options = lib.filter (option: (option.visible or true) != false && !(option.internal or false)) (
    lib.optionAttrSetToDocList (removeAttrs evaluated.options.services.hermes-agent [ ])
  );
in
writeText "hermes-agent-options.md" (
  "# Options of services.hermes-agent\n\n" + lib.concatMapStringsSep "\n" entry options
)
