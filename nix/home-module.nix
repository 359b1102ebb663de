# Home Manager: the same instance as a user service, with the user's own rights.
{ self }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.hermes-agent;
  json = (pkgs.formats.json { }).type;
  schema = import ./module/types.nix { inherit lib json; } (lib.importJSON ./module/settings-schema.json);

  package =
    if cfg.extraPythonPackages == [ ] && cfg.extraDependencyGroups == [ ] then
      cfg.package
    else
      cfg.package.override { inherit (cfg) extraPythonPackages extraDependencyGroups; };

  present =
    value:
    if lib.isAttrs value && !lib.isDerivation value then
      lib.mapAttrs (_: present) (lib.filterAttrs (_: inner: inner != null) value)
    else
      value;

  option =
    type: default: description:
    lib.mkOption { inherit type default description; };
  inherit (lib) types;

  spec = pkgs.writeText "hermes-agent-activation.json" (
    builtins.toJSON {
      version = 1;
      state_directory = cfg.home;
      inherit (cfg) home environment;
      working_directory = cfg.workingDirectory;
      settings = present cfg.settings;
      config_mode = "0600";
      directory_mode = "0700";
      environment_files = cfg.environmentFiles;
      documents = lib.mapAttrs (
        _: document: if builtins.isPath document then { path = "${document}"; } else { text = document; }
      ) cfg.documents;
      managed = {
        manager = "Home Manager";
        allow = cfg.allowedSettings;
      };
    }
  );
in
{
  options.services.hermes-agent = {
    enable = lib.mkEnableOption "hermes-agent as a service of this user";
    package = lib.mkOption {
      type = types.package;
      default = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
      defaultText = lib.literalExpression "hermes-agent.packages.\${system}.default";
      description = "The package.";
    };
    home = lib.mkOption {
      type = types.str;
      default = "${config.home.homeDirectory}/.hermes";
      defaultText = lib.literalExpression ''"''${config.home.homeDirectory}/.hermes"'';
      description = "HERMES_HOME.";
    };
    workingDirectory = lib.mkOption {
      type = types.str;
      default = config.home.homeDirectory;
      defaultText = lib.literalExpression "config.home.homeDirectory";
      description = "Where the agent works.";
    };
    settings = lib.mkOption {
      type = schema.settings;
      default = { };
      visible = "shallow";
      description = "config.yaml, merged as by the NixOS module.";
    };
    allowedSettings = option (types.listOf types.str) [ ] "Keys that `hermes config set` may still change.";
    environment = option (types.attrsOf types.str) { } "Variables for `.env`; no secrets here.";
    environmentFiles = option (types.listOf types.str) [ ] "Files with secrets, `NAME=value` lines.";
    documents = option (types.attrsOf (types.either types.str types.path)) { } "Files for the working directory.";
    extraPackages = option (types.listOf types.package) [ ] "Programs for the agent.";
    extraPythonPackages = option (types.listOf types.package) [ ] "Python packages for the program itself.";
    extraDependencyGroups = option (types.listOf types.str) [ ] "Extras to build in.";
    extraArgs = option (types.listOf types.str) [ ] "Arguments for `hermes gateway run`.";
    drainTimeout = option types.ints.unsigned 180 "Seconds that running work gets to end when the service stops.";
    watchdogSec = option types.ints.unsigned 60 "Seconds without progress after which systemd starts it again.";
  };

  config = lib.mkIf cfg.enable {
    home.packages = [ package ] ++ cfg.extraPackages;
    home.sessionVariables.HERMES_HOME = cfg.home;
    home.activation.hermes-agent = {
      after = [ "writeBoundary" ];
      before = [ ];
      data = "run ${package}/bin/hermes-agent-activate --spec ${spec}";
    };
    systemd.user.services.hermes-agent = {
      Unit = {
        Description = "hermes-agent";
        After = [ "sops-nix.service" ];
      };
      Install.WantedBy = [ "default.target" ];
      Service = {
        Type = "notify";
        Environment = [
          "HERMES_HOME=${cfg.home}"
          "HERMES_MANAGED=Home Manager"
          "MESSAGING_CWD=${cfg.workingDirectory}"
          "PATH=${lib.makeBinPath ([ package pkgs.bash pkgs.coreutils pkgs.git ] ++ cfg.extraPackages)}"
        ];
        WorkingDirectory = cfg.workingDirectory;
        ExecStartPre = "${package}/bin/hermes-agent-activate --spec ${spec} --only-secrets";
        ExecStart = "${package}/bin/hermes gateway run --replace ${lib.escapeShellArgs cfg.extraArgs}";
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        Restart = "always";
        RestartSec = 5;
        RestartForceExitStatus = "75";
        KillMode = "mixed";
        TimeoutStopSec = cfg.drainTimeout + 30;
        WatchdogSec = cfg.watchdogSec;
        NoNewPrivileges = true;
      };
    };
  };
}
