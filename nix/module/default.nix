# services.hermes-agent: one instance, and as many more as wanted under `instances`.
{ self }:
{
  config,
  lib,
  pkgs,
  options,
  ...
}:
let
  inherit (lib) mkIf mkMerge types;
  top = config.services.hermes-agent;

  json = (pkgs.formats.json { }).type;
  schema = import ./types.nix { inherit lib json; } (lib.importJSON ./settings-schema.json);

  optionsFor =
    name: cfg:
    import ./options.nix {
      inherit
        lib
        pkgs
        self
        name
        cfg
        ;
      settingsType = schema.settings;
    };

  build = name: cfg: {
    inherit name cfg;
    instance = import ./instance.nix {
      inherit
        lib
        pkgs
        name
        cfg
        ;
    };
  };

  single = lib.optional top.enable (build "" top);
  named = lib.mapAttrsToList build (lib.filterAttrs (_: cfg: cfg.enable) top.instances);
  all = single ++ named;
  each = f: mkMerge (map f all);

  checked = map (
    { name, cfg, instance }:
    import ./asserts.nix {
      inherit
        lib
        name
        cfg
        instance
        ;
      inherit (schema) knownKeys;
      docker = config.virtualisation.docker.enable;
    }
  ) all;

  # Secrets that activation scripts put in place are there before ours runs.
  secretScripts = lib.filter (script: options.system ? activationScripts && config.system.activationScripts ? ${script}) [
    "setupSecrets"
    "agenix"
    "agenixChown"
  ];
in
{
  options.services.hermes-agent = optionsFor "" top // {
    instances = lib.mkOption {
      type = types.attrsOf (
        types.submodule (
          { name, config, ... }:
          {
            options = optionsFor name config;
          }
        )
      );
      default = { };
      description = "Further instances, each with its own user, state and unit `hermes-agent-<name>`.";
    };
  };

  config = mkIf (all != [ ]) {
    assertions = lib.concatMap (c: c.assertions) checked;
    warnings = lib.concatMap (c: c.warnings) checked;

    users = each (
      { cfg, ... }:
      {
        users = mkMerge (
          [
            (mkIf cfg.createUser {
              ${cfg.user} = {
                isSystemUser = true;
                inherit (cfg) group;
                home = cfg.stateDir;
                shell = pkgs.bashInteractive;
              };
            })
            (mkIf (cfg.extraPackages != [ ]) { ${cfg.user}.packages = cfg.extraPackages; })
          ]
          ++ map (person: { ${person}.extraGroups = [ cfg.group ]; }) cfg.container.hostUsers
        );
        groups = mkIf cfg.createUser { ${cfg.group} = { }; };
      }
    );

    system.activationScripts = each (
      { instance, ... }:
      {
        "hermes-agent${instance.suffix}" = {
          deps = [ "users" ] ++ secretScripts;
          text = instance.activate;
        };
      }
    );

    systemd.tmpfiles.settings = each (
      { cfg, instance, ... }:
      {
        "10-hermes-agent${instance.suffix}" = lib.genAttrs [ cfg.stateDir cfg.workingDirectory ] (_: {
          d = {
            mode = "2770";
            inherit (cfg) user group;
          };
        });
      }
    );

    systemd.services = each (
      { cfg, instance, ... }:
      {
        "hermes-agent${instance.suffix}" = if cfg.container.enable then instance.containerUnit else instance.unit;
      }
    );

    virtualisation = each (
      { cfg, ... }: mkIf cfg.container.enable { ${cfg.container.backend}.enable = lib.mkDefault true; }
    );

    environment.etc = each (
      { cfg, instance, ... }:
      mkIf cfg.container.enable {
        "hermes-agent/container${instance.suffix}.json".source = instance.containerSpec;
        "hermes-agent/container-mode/hermes-agent${instance.suffix}".text = instance.containerMode;
      }
    );

    # For tests and for `nix eval`: what would be put in place.
    system.build.hermes-agent-container-specs = lib.listToAttrs (
      map ({ name, instance, ... }: lib.nameValuePair (if name == "" then "default" else name) instance.containerSpecText) (
        lib.filter ({ cfg, ... }: cfg.container.enable) all
      )
    );
    system.build.hermes-agent-specs = lib.listToAttrs (
      map ({ name, instance, ... }: lib.nameValuePair (if name == "" then "default" else name) instance.specText) all
    );

    environment.systemPackages = each (
      { cfg, instance, ... }:
      mkMerge [
        (mkIf cfg.addToSystemPackages [ instance.package ])
        # Knows its spec: `sudo hermes-agent-container plan`.
        (mkIf cfg.container.enable [ (lib.hiPrio instance.containerCommand) ])
      ]
    );
    environment.variables = each ({ cfg, instance, ... }: mkIf cfg.addToSystemPackages { HERMES_HOME = instance.home; });
  };
}
