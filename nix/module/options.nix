# Options of one instance: `services.hermes-agent` itself and each of `services.hermes-agent.instances`.
{
  lib,
  pkgs,
  self,
  settingsType,
  # Name of the instance; empty for services.hermes-agent itself.
  name,
  # The instance's own configuration, for defaults that depend on one another.
  cfg,
}:
let
  inherit (lib) mkOption mkEnableOption types;
  suffix = lib.optionalString (name != "") "-${name}";

  option =
    type: default: description:
    mkOption { inherit type default description; };

  mcp = import ./mcp-options.nix { inherit lib; };
in
{
  enable = mkEnableOption "hermes-agent${lib.optionalString (name != "") " (instance ${name})"}";

  package = mkOption {
    type = types.package;
    default = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
    defaultText = lib.literalExpression "hermes-agent.packages.\${system}.default";
    description = "The package; an overridden one is fine.";
  };

  user = option types.str "hermes${suffix}" "User the service runs as.";
  group = option types.str "hermes${suffix}" "Group of the service and its files.";
  createUser = option types.bool true "Create user and group.";

  stateDir = option types.str "/var/lib/hermes${suffix}" ''
    State directory. HERMES_HOME is `.hermes` in it. No part of the path may be a symbolic link.
  '';
  workingDirectory = mkOption {
    type = types.str;
    default = "${cfg.stateDir}/workspace";
    defaultText = lib.literalExpression ''"''${stateDir}/workspace"'';
    description = "Where the agent works: conversations of the gateway start there, `documents` are put there.";
  };

  addToSystemPackages = option types.bool false ''
    Put `hermes` on everybody's PATH and let HERMES_HOME lead to this instance. config.yaml is then
    writable by the group.
  '';

  settings = mkOption {
    type = settingsType;
    default = { };
    visible = "shallow";
    example = lib.literalExpression ''
      {
        model.default = "anthropic/claude-sonnet-4.5";
        agent.max_turns = 60;
      }
    '';
    description = ''
      config.yaml. Every key of `docs/configuration.md` has its type here; a top-level key that is not
      known gives a warning. Merged into the file that is there: what is declared wins, keys that only
      the file has stay, and a key that is no longer declared leaves the file unless it was changed since.
    '';
  };
  configFile = option (types.nullOr types.path) null ''
    A whole config.yaml, copied at every activation; `settings` and `mcpServers` are not used then.
  '';
  allowedSettings = mkOption {
    type = types.listOf types.str;
    default = [ ];
    example = [
      "model.default"
      "display"
    ];
    description = "Keys (or sections) of config.yaml that `hermes config set` and `/model` may still change.";
  };

  environment = option (types.attrsOf types.str) { } ''
    Variables for `.env`. They stand in the world-readable Nix store: no secrets here.
  '';
  environmentFiles = option (types.listOf types.str) [ ] ''
    Files with secrets, `NAME=value` lines, readable by root: what sops-nix or agenix writes. Compiled
    into `.env` at every activation and at every start of the service, so a restart takes new secrets.
  '';
  credentials = mkOption {
    type = types.attrsOf types.str;
    default = { };
    example = {
      OPENROUTER_API_KEY = "/run/secrets/openrouter";
    };
    description = ''
      Variables whose value is the content of a file, handed over by systemd (`LoadCredential`). They
      are never copied to the disk and are not inherited by the commands that the agent runs.
    '';
  };

  authFile = option (types.nullOr types.path) null "Seed of auth.json (OAuth tokens), copied if that is missing.";
  authFileForceOverwrite = option types.bool false "Copy `authFile` at every activation.";

  documents = mkOption {
    type = types.attrsOf (types.either types.str types.path);
    default = { };
    example = lib.literalExpression ''{ "USER.md" = ./USER.md; }'';
    description = ''
      Files for the working directory: their text, or a path. The persona is `SOUL.md` in HERMES_HOME
      and not among them.
    '';
  };

  mcpServers = mkOption {
    type = types.attrsOf (types.submodule mcp);
    default = { };
    description = "MCP servers; merged into `settings.mcp_servers`. `\${NAME}` in a value is read from `.env`.";
  };

  extraArgs = option (types.listOf types.str) [ ] "Arguments for `hermes gateway run`.";
  extraPackages = option (types.listOf types.package) [ ] ''
    Programs for the agent: on the service's PATH and in the profile of its user.
  '';
  extraPlugins = mkOption {
    type = types.listOf types.package;
    default = [ ];
    description = "Folders with a `plugin.yaml`, linked into `plugins/`.";
  };
  extraPythonPackages = option (types.listOf types.package) [ ] ''
    Packages of `python312Packages` for the program itself: plug-ins with entry points of the group
    `hermes_agent.plugins`, and libraries they need.
  '';
  extraDependencyGroups = mkOption {
    type = types.listOf types.str;
    default = [ ];
    example = [ "messaging" ];
    description = "Extras of hermes-agent's pyproject.toml to build in.";
  };

  restart = option types.str "always" "systemd's `Restart=`.";
  restartSec = option types.int 5 "systemd's `RestartSec=`, in seconds.";
  drainTimeout = option types.ints.unsigned 180 ''
    Seconds that running work gets to end when the service stops. `agent.restart_drain_timeout` and the
    unit's time-outs follow from it.
  '';
  watchdogSec = option types.ints.unsigned 60 ''
    Seconds without progress after which systemd starts the service again; 0 turns the watchdog off.
  '';
  extraServiceConfig = mkOption {
    type = types.attrsOf types.anything;
    default = { };
    example = {
      MemoryMax = "4G";
    };
    description = "More of the unit's `[Service]` section; wins over what the module sets.";
  };

  hardening = import ./hardening-options.nix { inherit lib; };

  container = {
    enable = option types.bool false ''
      Run in a persistent container, in which the agent may install software for itself, instead of a
      hardened unit.
    '';
    backend = option (types.enum [
      "docker"
      "podman"
    ]) "docker" "Container engine.";
    image = option types.str "ubuntu:24.04" "Image of the container. Another one makes a new container.";
    extraVolumes = option (types.listOf types.str) [ ] "More mounts, `host:container[:ro]`.";
    extraOptions = option (types.listOf types.str) [ ] "More options for creating the container.";
    hostUsers = option (types.listOf types.str) [ ] ''
      People on this machine whose `~/.hermes` leads to the service's home; they become members of the group.
    '';
    sudo = option types.bool true "Let the agent be root inside the container, for `apt install` and the like.";
    preserveLayer = option types.bool true ''
      When mounts or options change, make the new container from the old one's files, so that what was
      installed in it stays.
    '';
  };
}
