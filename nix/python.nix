# The Python packages of uv.lock as derivations, and the sealed virtual environment made of them.
{
  lib,
  callPackage,
  python312,
  pyproject-nix,
  uv2nix,
  pyproject-build-systems,
}:
let
  root = ../.;
  project = lib.importTOML (root + "/pyproject.toml");

  workspace = uv2nix.lib.workspace.loadWorkspace { workspaceRoot = root; };

  # Editing the tests or the documentation does not rebuild the package.
  source = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions [
      (root + "/pyproject.toml")
      (root + "/README.md")
      (root + "/LICENSE")
      (lib.fileset.fileFilter (file: !file.hasExt "pyc") (root + "/hermes_agent"))
    ];
  };

  # Packages that exist only as source and do not say what builds them.
  setuptoolsPackages = [
    "atomicwrites"
    "sdnotify"
  ];

  overrides =
    final: prev:
    {
      hermes-agent = prev.hermes-agent.overrideAttrs (_: {
        src = source;
      });
    }
    // lib.genAttrs (lib.filter (name: prev ? ${name}) setuptoolsPackages) (
      name:
      prev.${name}.overrideAttrs (old: {
        nativeBuildInputs = (old.nativeBuildInputs or [ ]) ++ final.resolveBuildSystem { setuptools = [ ]; };
      })
    );

  pythonSet = (callPackage pyproject-nix.build.packages { python = python312; }).overrideScope (
    lib.composeManyExtensions [
      pyproject-build-systems.overlays.wheel
      (workspace.mkPyprojectOverlay { sourcePreference = "wheel"; })
      overrides
    ]
  );

  availableGroups = lib.attrNames (project.project.optional-dependencies or { });

  # Extras that an extra names itself (`all = ["hermes-agent[anthropic]"]`), in full.
  expand =
    groups:
    let
      named =
        group:
        lib.concatMap (
          requirement:
          let
            found = builtins.match "hermes-agent\\[([^]]+)].*" requirement;
          in
          if found == null then [ ] else map lib.trim (lib.splitString "," (lib.head found))
        ) (project.project.optional-dependencies.${group} or [ ]);
      next = lib.unique (groups ++ lib.concatMap named groups);
    in
    if next == groups then groups else expand next;

  checked =
    groups:
    let
      unknown = lib.subtractLists availableGroups groups;
    in
    if unknown == [ ] then
      groups
    else
      throw "hermes-agent has no dependency group ${lib.concatMapStringsSep ", " lib.strings.escapeNixString unknown}; there are: ${lib.concatStringsSep ", " availableGroups}";
in
{
  inherit pythonSet availableGroups;
  inherit (project.project) version scripts;
  python = python312;

  # Extras that an environment with these groups holds.
  groupsOf = groups: lib.sort lib.lessThan (expand (checked groups));

  venv = groups: pythonSet.mkVirtualEnv "hermes-agent-env" { hermes-agent = lib.unique (checked groups); };
}
