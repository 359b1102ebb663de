# What fails, or is warned of, while the configuration is evaluated: before anything runs.
{
  lib,
  name,
  cfg,
  instance,
  knownKeys,
  docker,
}:
let
  option = "services.hermes-agent${lib.optionalString (name != "") ".instances.${name}"}";
  inherit (instance) settings package;

  available = package.availableGroups or [ ];
  built = package.dependencyGroups or available;

  # Whatever the settings turn on and is an extra by that name has to be in the environment.
  isOn = value: lib.isAttrs value && (value.enabled or true) != false;
  used =
    lib.attrNames (lib.filterAttrs (_: isOn) (settings.platforms or { }))
    ++ lib.optional (lib.isString (settings.memory.provider or null)) settings.memory.provider
    ++ lib.optional (lib.isAttrs (settings.model or null) && lib.isString (settings.model.provider or null)) settings.model.provider;
  absent = lib.filter (group: lib.elem group available && !(lib.elem group built)) (lib.unique used);

  names = map instance.pluginName cfg.extraPlugins;
  twice = lib.unique (lib.filter (plugin: lib.count (other: other == plugin) names > 1) names);

  unknown = lib.subtractLists (knownKeys ++ [ "_config_version" ]) (lib.attrNames cfg.settings);
  nearest =
    key:
    let
      ranked = lib.sort (a: b: a.distance < b.distance) (
        map (known: {
          inherit known;
          distance = lib.strings.levenshtein key known;
        }) knownKeys
      );
      best = lib.head ranked;
    in
    lib.optionalString (best.distance <= 3) "; did you mean ${best.known}?";
in
{
  assertions = [
    {
      assertion = absent == [ ];
      message = ''
        ${option}: the settings use ${lib.concatStringsSep ", " absent}, which the package was built without.
        Add: ${option}.extraDependencyGroups = [ ${lib.concatMapStringsSep " " lib.strings.escapeNixString absent} ];
      '';
    }
    {
      assertion = twice == [ ];
      message = "${option}.extraPlugins: more than one plug-in is called ${lib.concatStringsSep ", " twice}";
    }
    {
      assertion = lib.hasPrefix "/" cfg.stateDir && lib.hasPrefix "/" cfg.workingDirectory;
      message = "${option}: stateDir and workingDirectory must be absolute paths";
    }
    {
      assertion = !(cfg.container.enable && cfg.container.backend == "podman" && docker);
      message = ''
        ${option}.container.backend is "podman", but Docker is enabled, too.
        Set virtualisation.docker.enable = false, or container.backend = "docker".
      '';
    }
    {
      assertion = cfg.container.enable -> lib.elem "hermes-agent-container" (package.commands or [ ]);
      message = "${option}.container.enable: this package has no command hermes-agent-container";
    }
    {
      assertion = !(cfg.container.enable && cfg.credentials != { });
      message = "${option}.credentials are handed over by systemd and do not reach a container; use environmentFiles";
    }
    {
      assertion = lib.all (variable: builtins.match "[A-Za-z_][A-Za-z0-9_]*" variable != null) (
        lib.attrNames cfg.credentials ++ lib.attrNames cfg.environment
      );
      message = "${option}: names of credentials and of environment must be names of variables";
    }
  ];

  warnings =
    map (key: "${option}.settings.${key} is not a known setting${nearest key}") unknown
    ++
      lib.optional (cfg.configFile != null && (cfg.settings != { } || cfg.mcpServers != { }))
        "${option}.configFile is set: settings and mcpServers are not used"
    ++
      lib.optional (cfg.container.hostUsers != [ ] && !cfg.addToSystemPackages)
        "${option}.container.hostUsers without addToSystemPackages: these people have no `hermes` command";
}
