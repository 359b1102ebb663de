# The NixOS module, evaluated: option types, assertions, warnings, the rendered unit and activation spec.
{
  self,
  lib,
  pkgs,
  writeText,
}:
let
  system = pkgs.stdenv.hostPlatform.system;
  linux = if lib.hasSuffix "-linux" system then system else "x86_64-linux";

  machine =
    settings:
    (self.inputs.nixpkgs.lib.nixosSystem {
      system = linux;
      modules = [
        self.nixosModules.default
        {
          system.stateVersion = "26.05";
          services.hermes-agent.enable = lib.mkDefault true;
        }
      ]
      ++ lib.toList settings;
    }).config;

  of = options: machine { services.hermes-agent = options; };

  # The activation spec, without building it.
  specOf = config: builtins.fromJSON (builtins.unsafeDiscardStringContext config.system.build.hermes-agent-specs.default);
  unitOf = config: config.systemd.services.hermes-agent;
  # (a machine without disks has other complaints)
  failed =
    config:
    lib.filter (lib.hasInfix "hermes-agent") (
      map (entry: entry.message) (lib.filter (entry: !entry.assertion) config.assertions)
    );
  says = text: messages: lib.any (lib.hasInfix text) messages;
  # Evaluates at all? (Type errors are not caught by tryEval, so these cases are few.)
  evaluates = value: (builtins.tryEval (builtins.deepSeq value true)).success;

  plain = of { };
  full = machine [
    {
      services.hermes-agent = {
        settings.model.default = lib.mkDefault "weak";
        settings.agent.max_turns = 7;
        settings.mcp_servers.byHand.command = "x";
        mcpServers.fs = {
          command = "fs";
          env.TOKEN = "\${TOKEN}";
          tools.include = [ "read" ];
        };
        environmentFiles = [ "/run/secrets/hermes" ];
        credentials.OPENAI_API_KEY = "/run/secrets/openai";
        documents."USER.md" = "hello";
        allowedSettings = [ "display" ];
        drainTimeout = 60;
        extraArgs = [ "--verbose" ];
        extraServiceConfig.MemoryMax = "4G";
        hardening.writablePaths = [ "/srv/project" ];
        hardening.allowDocker = true;
      };
    }
    {
      services.hermes-agent.settings.model.default = "strong";
      services.hermes-agent.settings.model.max_tokens = lib.mkForce 5;
      services.hermes-agent.settings.display.skin = lib.mkIf false "mono";
    }
  ];
  fullSpec = specOf full;
  service = (unitOf full).serviceConfig;
  two = machine {
    services.hermes-agent = {
      enable = false;
      instances.work.enable = true;
      instances.play = {
        enable = true;
        user = "player";
        settings.model.default = "demo";
      };
    };
  };
  home =
    (lib.evalModules {
      specialArgs = { inherit pkgs; };
      modules = [
        self.homeModules.default
        {
          # What Home Manager declares, as far as the module uses it.
          options = lib.genAttrs [ "home" "systemd" ] (
            _: lib.mkOption { type = lib.types.submodule { freeformType = lib.types.attrsOf lib.types.anything; }; }
          );
          config = {
            home.homeDirectory = "/home/alice";
            services.hermes-agent.enable = true;
            services.hermes-agent.settings.model.default = "demo";
          };
        }
      ];
    }).config;
  contained = of {
    addToSystemPackages = true;
    container = {
      enable = true;
      image = "debian:13";
      extraVolumes = [ "/srv:/srv:ro" ];
      extraOptions = [ "--memory=4g" ];
      hostUsers = [ "alice" ];
      sudo = false;
      preserveLayer = false;
    };
  };
  containerSpec = builtins.fromJSON (
    builtins.unsafeDiscardStringContext contained.system.build.hermes-agent-container-specs.default
  );
  plugin = pkgs.runCommand "one" { } "mkdir $out";

  cases = {
    "a bare configuration has no failed assertion" = failed plain == [ ];
    "the unit is notified and watched" =
      (unitOf plain).serviceConfig.Type == "notify" && (unitOf plain).serviceConfig.WatchdogSec == 60;
    "defaults are those of the documentation" =
      plain.services.hermes-agent.stateDir == "/var/lib/hermes"
      && plain.services.hermes-agent.workingDirectory == "/var/lib/hermes/workspace"
      && plain.services.hermes-agent.user == "hermes"
      && plain.services.hermes-agent.restart == "always"
      && plain.services.hermes-agent.restartSec == 5
      && plain.services.hermes-agent.container.image == "ubuntu:24.04";
    "settings of several files merge, with priorities at any depth" =
      fullSpec.settings.model == {
        default = "strong";
        max_tokens = 5;
      };
    "mkIf false leaves nothing behind" = !(fullSpec.settings.display or { } ? skin);
    "what is not declared is not in the spec" =
      lib.attrNames (specOf plain).settings == [ "agent" ];
    "mcpServers are merged and empty fields left out" =
      fullSpec.settings.mcp_servers.fs == {
        command = "fs";
        enabled = true;
        env.TOKEN = "\${TOKEN}";
        tools.include = [ "read" ];
      }
      && fullSpec.settings.mcp_servers ? byHand;
    "time-outs follow from one option" =
      service.TimeoutStopSec == 90 && fullSpec.settings.agent.restart_drain_timeout == 60;
    "secrets are compiled at every start, by a process that begins as root" =
      lib.hasPrefix "+" (lib.head service.ExecStartPre)
      && lib.hasInfix "--only-secrets" (lib.head service.ExecStartPre);
    "credentials are handed over by systemd" =
      service.LoadCredential == [ "OPENAI_API_KEY:/run/secrets/openai" ];
    "the unit waits softly for secrets" =
      lib.elem "sops-install-secrets.service" (unitOf full).after && (unitOf full).requires == [ ];
    "extra service settings win" = service.MemoryMax == "4G";
    "writable paths are the declared ones" =
      service.ReadWritePaths == [
        "/var/lib/hermes"
        "/var/lib/hermes/workspace"
        "/srv/project"
      ];
    "Docker is a relaxation with its group" =
      service.SupplementaryGroups == [ "docker" ] && !service.PrivateUsers;
    "a document is text in the spec" = fullSpec.documents."USER.md".text == "hello";
    "an unknown top-level key warns with the nearest name" =
      says "settings.modell is not a known setting; did you mean model?"
        (of { settings.modell = "x"; }).warnings;
    "a number where a text belongs fails" = !(evaluates (specOf (of { settings.model.default.x = 1; })));
    "a plug-in that is there twice fails" =
      says "more than one plug-in" (failed (of {
        extraPlugins = [
          plugin
          plugin
        ];
      }));
    "podman beside Docker fails" =
      says "podman" (
        failed (machine {
          virtualisation.docker.enable = true;
          services.hermes-agent.container = {
            enable = true;
            backend = "podman";
          };
        })
      );
    "instances have users, units and states of their own" =
      two.systemd.services ? hermes-agent-work
      && two.systemd.services ? hermes-agent-play
      && !(two.systemd.services ? hermes-agent)
      && two.systemd.services.hermes-agent-play.serviceConfig.User == "player"
      && two.services.hermes-agent.instances.work.stateDir == "/var/lib/hermes-work"
      && two.users.users ? hermes-work;
    "a package without the extra that a setting needs fails and names the option" =
      says ''extraDependencyGroups = [ "discord" ]'' (failed (of { settings.platforms.discord.enabled = true; }))
      &&
        failed (of {
          settings.platforms.discord.enabled = true;
          extraDependencyGroups = [ "discord" ];
        }) == [ ]
      &&
        failed (of {
          settings.platforms.discord.enabled = true;
          package = self.packages.${linux}.messaging;
        }) == [ ];
    "a container without its program fails" =
      says "hermes-agent-container" (
        failed (of {
          container.enable = true;
          package = lib.recursiveUpdate self.packages.${linux}.default { commands = [ "hermes" ]; };
        })
      );
    "a bare container has no failed assertion, its engine and its unit" =
      failed contained == [ ]
      && contained.virtualisation.docker.enable
      && (unitOf contained).requires == [ "docker.service" ]
      && (unitOf contained).serviceConfig.Type == "notify"
      && lib.hasSuffix " run" (unitOf contained).serviceConfig.ExecStart
      && !((unitOf contained).serviceConfig ? User)
      && !((unitOf contained).serviceConfig ? ProtectSystem);
    "the container spec says what the options say" =
      containerSpec.image == "debian:13"
      && containerSpec.extra_volumes == [ "/srv:/srv:ro" ]
      && containerSpec.extra_options == [ "--memory=4g" ]
      && !containerSpec.sudo
      && !containerSpec.preserve_layer
      && containerSpec.name == "hermes-agent"
      && containerSpec.state_directory == "/var/lib/hermes"
      && containerSpec.drain_seconds == 180;
    "a container's spec and activation agree" =
      let
        mode = (specOf contained).container_mode;
      in
      mode.container_name == containerSpec.name
      && mode.backend == containerSpec.backend
      && lib.hasInfix "container_name=${containerSpec.name}\n" contained.environment.etc."hermes-agent/container-mode/hermes-agent".text
      && (specOf contained).host_users == [ "alice" ]
      && lib.elem "hermes" contained.users.users.alice.extraGroups;
    "podman brings its own engine" =
      let
        config = of {
          container.enable = true;
          container.backend = "podman";
        };
      in
      config.virtualisation.podman.enable
      && !config.virtualisation.docker.enable
      && (unitOf config).requires == [ "podman.socket" ];
    "the package is no part of a container's structure" =
      lib.hasPrefix "/nix/store/" containerSpec.package && containerSpec.tools != containerSpec.package;
    "Home Manager gets a user service without hardening that needs root" =
      home.systemd.user.services.hermes-agent.Service.Type == "notify"
      && lib.elem "HERMES_HOME=/home/alice/.hermes" home.systemd.user.services.hermes-agent.Service.Environment
      && lib.hasInfix "hermes-agent-activate --spec" home.home.activation.hermes-agent.data;
    "configFile replaces settings" =
      let
        spec = specOf (of {
          configFile = ./module-eval.nix;
          settings.timezone = "UTC";
        });
      in
      spec.settings == null && spec.config_file != null;
  };

  wrong = lib.attrNames (lib.filterAttrs (_: isRight: !isRight) cases);
in
if wrong == [ ] then
  writeText "hermes-check-module-eval" "${toString (lib.length (lib.attrNames cases))} cases\n"
else
  throw "module-eval: ${lib.concatStringsSep "; " wrong}"
