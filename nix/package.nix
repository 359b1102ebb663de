# The package: a sealed virtual environment, wrapped so that the tools it needs are found.
#
# `override` takes
#   extraDependencyGroups  extras of pyproject.toml, resolved together with the rest (no collisions)
#   extraPythonPackages    packages of python312Packages, put on PYTHONPATH with all they need
{
  lib,
  stdenv,
  runCommand,
  callPackage,
  makeWrapper,
  python312,
  ffmpeg,
  ffmpeg-headless ? ffmpeg,
  git,
  openssh,
  ripgrep,
  wl-clipboard,
  xclip,
  pyproject-nix,
  uv2nix,
  pyproject-build-systems,
  revision ? null,
  # What needs no choice; libraries of messaging platforms come by extraDependencyGroups.
  dependencyGroups ? [ "anthropic" ],
  extraDependencyGroups ? [ ],
  extraPythonPackages ? [ ],
  nodePackage ? null,
  webDist ? null,
}:
let
  python = callPackage ./python.nix {
    inherit
      pyproject-nix
      uv2nix
      pyproject-build-systems
      python312
      ;
  };
  groups = lib.unique (dependencyGroups ++ extraDependencyGroups);
  venv = python.venv groups;

  foreign = lib.filter (package: (package.pythonModule or python312) != python312) extraPythonPackages;
  extraModules =
    assert lib.assertMsg (foreign == [ ])
      "hermes-agent: extraPythonPackages must come from python312Packages; these do not: ${toString (map lib.getName foreign)}";
    # The interpreter itself is among them, and is there already.
    lib.filter (module: (module.outPath or null) != python312.outPath) (
      python312.pkgs.requiredPythonModules extraPythonPackages
    );
  extraPath = lib.makeSearchPath python312.sitePackages extraModules;

  runtimeTools = [
    git
    ripgrep
    openssh
    ffmpeg-headless
  ]
  ++ lib.optionals stdenv.hostPlatform.isLinux [
    wl-clipboard
    xclip
  ]
  ++ lib.optional (nodePackage != null) nodePackage;

  # Skills, plug-ins and translations come from the repository's root or from inside the Python package.
  bundled = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions (
      map (name: lib.fileset.maybeMissing (../. + "/${name}")) [
        "skills"
        "plugins"
        "locales"
      ]
    );
  };

  variables = {
    HERMES_PYTHON = "${venv}/bin/python";
    HERMES_BUNDLED_SKILLS = "$out/share/hermes-agent/skills";
    HERMES_BUNDLED_PLUGINS = "$out/share/hermes-agent/plugins";
    HERMES_BUNDLED_LOCALES = "$out/share/hermes-agent/locales";
  }
  // lib.optionalAttrs (webDist != null) { HERMES_WEB_DIST = "$out/share/hermes-agent/web_dist"; }
  // lib.optionalAttrs (nodePackage != null) { HERMES_NODE = lib.getExe nodePackage; }
  // lib.optionalAttrs (revision != null) { HERMES_REVISION = revision; };
in
stdenv.mkDerivation {
  pname = "hermes-agent";
  inherit (python) version;

  dontUnpack = true;
  nativeBuildInputs = [ makeWrapper ];

  # Names of the commands: every entry of [project.scripts].
  scripts = lib.attrNames python.scripts;

  installPhase = ''
    runHook preInstall

    ${lib.optionalString (extraModules != [ ]) ''
      ${python312.interpreter} ${./check-collisions.py} ${venv}/${python312.sitePackages} ${
        lib.concatMapStringsSep " " (module: "${module}/${python312.sitePackages}") extraModules
      }
    ''}

    share=$out/share/hermes-agent
    mkdir -p $out/bin $share
    for name in skills plugins locales; do
      inside=${venv}/${python312.sitePackages}/hermes_agent/$name/bundled
      if [ -d ${bundled}/$name ]; then
        cp -r ${bundled}/$name $share/$name
      elif [ -d $inside ]; then
        ln -s $inside $share/$name
      else
        mkdir $share/$name
      fi
    done
    ${lib.optionalString (webDist != null) "ln -s ${webDist} $share/web_dist"}

    for script in $scripts; do
      # Suffixed: what the user or the unit has on PATH wins.
      makeWrapper ${venv}/bin/$script $out/bin/$script \
        --suffix PATH : ${lib.makeBinPath runtimeTools} \
        ${lib.concatStringsSep " " (lib.mapAttrsToList (name: value: "--set ${name} ${value}") variables)}${lib.optionalString (extraModules != [ ]) " --prefix PYTHONPATH : ${extraPath}"}
    done

    runHook postInstall
  '';

  passthru = {
    inherit venv extraPythonPackages;
    inherit (python) pythonSet availableGroups;
    python = python312;
    commands = lib.attrNames python.scripts;
    # Extras that are in this environment.
    dependencyGroups = python.groupsOf groups;
    configKeys =
      runCommand "hermes-config-keys.json" { }
        "HERMES_HOME=$PWD ${venv}/bin/python -I ${./config-keys.py} >$out";
    configSchema =
      runCommand "hermes-config-schema.json" { }
        "HERMES_HOME=$PWD ${venv}/bin/hermes config schema >$out";
  };

  meta = {
    description = "A self-hosted AI agent: terminal, messaging gateway and API server";
    license = lib.licenses.mit;
    mainProgram = "hermes";
    platforms = lib.platforms.unix;
  };
}
