# What an instance becomes: its settings, its activation spec, its unit.
{
  lib,
  pkgs,
  name,
  cfg,
}:
let
  suffix = lib.optionalString (name != "") "-${name}";
  home = "${cfg.stateDir}/.hermes";

  # Null counts as absent.
  present =
    value:
    if lib.isDerivation value then
      "${value}"
    else if lib.isAttrs value then
      lib.mapAttrs (_: present) (lib.filterAttrs (_: inner: inner != null) value)
    else if lib.isList value then
      map present value
    else
      value;

  filled =
    server:
    lib.filterAttrs (_: value: value != null && value != [ ] && value != { }) (
      server
      // lib.optionalAttrs (server.tools != null) { tools = filledPart server.tools; }
      // lib.optionalAttrs (server.sampling != null) { sampling = filledPart server.sampling; }
    );
  filledPart = lib.filterAttrs (_: value: value != null && value != [ ]);

  settings = lib.recursiveUpdate (present (
    lib.recursiveUpdate { agent.restart_drain_timeout = cfg.drainTimeout; } (present cfg.settings)
  )) (lib.optionalAttrs (cfg.mcpServers != { }) { mcp_servers = lib.mapAttrs (_: filled) cfg.mcpServers; });

  package =
    if cfg.extraPythonPackages == [ ] && cfg.extraDependencyGroups == [ ] then
      cfg.package
    else
      cfg.package.override {
        inherit (cfg) extraPythonPackages extraDependencyGroups;
      };

  pluginName = plugin: plugin.pname or (lib.getName plugin);

  specText = builtins.toJSON {
    version = 1;
    instance = name;
    inherit (cfg) user group environment;
    state_directory = cfg.stateDir;
    inherit home;
    working_directory = cfg.workingDirectory;
    user_home = if cfg.container.enable then "${cfg.stateDir}/home" else null;
    settings = if cfg.configFile == null then settings else null;
    config_file = if cfg.configFile == null then null else "${cfg.configFile}";
    config_mode = if cfg.addToSystemPackages then "0660" else "0640";
    environment_files = cfg.environmentFiles;
    auth_file = if cfg.authFile == null then null else "${cfg.authFile}";
    auth_file_force_overwrite = cfg.authFileForceOverwrite;
    documents = lib.mapAttrs (
      _: document:
      if builtins.isPath document || lib.isDerivation document then
        { path = "${document}"; }
      else
        { text = document; }
    ) cfg.documents;
    plugins = map (plugin: {
      name = pluginName plugin;
      path = "${plugin}";
    }) cfg.extraPlugins;
    managed = {
      manager = "NixOS";
      allow = cfg.allowedSettings;
    };
    container_mode =
      if cfg.container.enable then
        {
          inherit (cfg.container) backend;
          container_name = "hermes-agent${suffix}";
          exec_user = "hermes";
          hermes_bin = "/data/current-package/bin/hermes";
        }
      else
        null;
    host_users = cfg.container.hostUsers;
  };

  spec = pkgs.writeText "hermes-agent${suffix}-activation.json" specText;

  activate = "${package}/bin/hermes-agent-activate --spec ${spec}";

  containerName = "hermes-agent${suffix}";

  # What the agent installs things with, from the store: a container's first start needs no network.
  tools = pkgs.buildEnv {
    name = "hermes-agent${suffix}-tools";
    paths = cfg.extraPackages ++ [
      pkgs.cacert
      pkgs.git
      pkgs.nodejs
      pkgs.python312
      pkgs.uv
    ];
    pathsToLink = [
      "/bin"
      "/etc/ssl"
      "/lib/node_modules"
      "/share"
    ];
    ignoreCollisions = true;
  };

  containerSpecText = builtins.toJSON {
    version = 1;
    instance = name;
    inherit (cfg.container) backend image sudo;
    name = containerName;
    preserve_layer = cfg.container.preserveLayer;
    extra_volumes = cfg.container.extraVolumes;
    extra_options = cfg.container.extraOptions;
    inherit (cfg) user group;
    state_directory = cfg.stateDir;
    inherit home;
    working_directory = cfg.workingDirectory;
    package = "${package}";
    tools = "${tools}";
    extra_roots = map (plugin: "${plugin}") cfg.extraPlugins;
    arguments = cfg.extraArgs;
    drain_seconds = settings.agent.restart_drain_timeout;
  };

  containerSpec = pkgs.writeText "hermes-agent${suffix}-container.json" containerSpecText;

  # Secrets may be put in place by units of sops-nix or agenix; where there are none this means nothing.
  common = {
    description = "hermes-agent${lib.optionalString (name != "") " (${name})"}";
    wantedBy = [ "multi-user.target" ];
    wants = [ "network-online.target" ];
    after = [
      "network-online.target"
      "sops-install-secrets.service"
      "agenix-install-secrets.service"
    ];
  };
  service = {
    Type = "notify";
    Restart = cfg.restart;
    RestartSec = cfg.restartSec;
    # `hermes gateway restart` and /restart end with 75.
    RestartForceExitStatus = "75";
    KillMode = "mixed";
  }
  // lib.optionalAttrs (cfg.watchdogSec > 0) { WatchdogSec = cfg.watchdogSec; };
  drain = builtins.ceil settings.agent.restart_drain_timeout;
in
{
  inherit
    suffix
    home
    settings
    package
    pluginName
    spec
    specText
    activate
    containerSpec
    containerSpecText
    ;

  containerCommand = pkgs.writeShellScriptBin "hermes-agent-container${suffix}" ''
    exec ${package}/bin/hermes-agent-container --spec ${containerSpec} "$@"
  '';

  # What the host's `hermes` believes about the container: nobody in it can write this one.
  containerMode = ''
    home=${home}
    backend=${cfg.container.backend}
    container_name=${containerName}
    exec_user=hermes
    hermes_bin=/data/current-package/bin/hermes
  '';

  # Root keeps the container: whoever may use an engine is root anyway.
  containerUnit =
    let
      engine = if cfg.container.backend == "docker" then "docker.service" else "podman.socket";
    in
    common
    // {
      after = common.after ++ [ engine ];
      requires = [ engine ];
      path = [ package ];
      environment.HERMES_DEV = "1";
      serviceConfig =
        service
        // {
          NotifyAccess = "main";
          UMask = "0022";
          StateDirectory = "hermes-agent-container";
          ExecStartPre = [ "${activate} --only-secrets" ];
          ExecStart = "${package}/bin/hermes-agent-container --spec ${containerSpec} run";
          ExecReload = [
            "${activate} --only-secrets"
            "${pkgs.coreutils}/bin/kill -HUP $MAINPID"
          ];
          # The first start may fetch an image; the program asks for more time while it does.
          TimeoutStartSec = 300;
          TimeoutStopSec = drain + 45;
        }
        // cfg.extraServiceConfig;
    };

  unit = common // {
    after = common.after ++ lib.optional cfg.hardening.allowDocker "docker.service";
    path = [
      package
      pkgs.bash
      pkgs.coreutils
      pkgs.git
    ]
    ++ cfg.extraPackages
    # What people have on this machine, the agent has, too.
    ++ [
      "/etc/profiles/per-user/${cfg.user}"
      "/run/current-system/sw"
    ];
    environment = {
      HOME = cfg.stateDir;
      HERMES_HOME = home;
      HERMES_MANAGED = "true";
      MESSAGING_CWD = cfg.workingDirectory;
    };
    serviceConfig = service // {
      User = cfg.user;
      Group = cfg.group;
      WorkingDirectory = cfg.workingDirectory;
      UMask = "0007";
      # As root: secrets may be for root's eyes only. It gives itself up before it writes.
      ExecStartPre = [ "+${activate} --only-secrets" ];
      ExecStart = "${package}/bin/hermes gateway run --replace ${lib.escapeShellArgs cfg.extraArgs}";
      ExecReload = [
        "+${activate} --only-secrets"
        "${pkgs.coreutils}/bin/kill -HUP $MAINPID"
      ];
      TimeoutStartSec = 120;
      TimeoutStopSec = drain + 30;
      LoadCredential = lib.mapAttrsToList (variable: path: "${variable}:${path}") cfg.credentials;
    }
    // import ./hardening.nix { inherit lib cfg; }
    // cfg.extraServiceConfig;
  };
}
