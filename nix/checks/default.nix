# `nix flake check`. The first six names are the ones that other people's pipelines refer to.
{ inputs, ... }:
{
  perSystem =
    {
      lib,
      pkgs,
      self',
      ...
    }:
    let
      inherit (inputs) self;
      hermes = self'.packages.default;
      project = lib.importTOML ../../pyproject.toml;

      # A check that runs commands in an empty home.
      check =
        name: tools: script:
        pkgs.runCommand "hermes-check-${name}" { nativeBuildInputs = tools; } ''
          export HOME=$PWD/home HERMES_HOME=$PWD/home/.hermes
          mkdir -p $HERMES_HOME
          fail() { echo "${name}: $*" >&2; exit 1; }
          ${script}
          mkdir -p $out && echo ok >$out/result
        '';

      # How many skills the source holds.
      bundledSkills = lib.count (path: baseNameOf path == "SKILL.md") (
        lib.concatMap (path: lib.optionals (lib.pathIsDirectory path) (lib.filesystem.listFilesRecursive path)) [
          ../../skills
          ../../hermes_agent/skills/bundled
        ]
      );

      scripts = lib.attrNames project.project.scripts;

      basic = {
        package-contents = check "package-contents" [ ] ''
          for name in hermes hermes-agent hermes-acp; do
            [ -x ${hermes}/bin/$name ] || fail "no command $name"
          done
          ${hermes}/bin/hermes version >version || fail "hermes version does not run"
          grep -F '${project.project.version}' version || fail "hermes version does not say ${project.project.version}"
        '';

        entry-points-sync = check "entry-points-sync" [ ] ''
          for name in ${toString scripts}; do
            [ -x ${hermes}/bin/$name ] || fail "[project.scripts] names $name, which is not wrapped"
          done
          for path in ${hermes}/bin/*; do
            case " ${toString scripts} " in *" $(basename $path) "*) ;; *) fail "$path is not in [project.scripts]" ;; esac
          done
        '';

        cli-commands = check "cli-commands" [ ] ''
          ${hermes}/bin/hermes --help >help
          for name in gateway config; do
            grep -qE "^ *$name\b" help || fail "hermes --help does not name $name"
          done
        '';

        managed-guard = check "managed-guard" [ ] ''
          refuses() {
            HERMES_MANAGED=true ${hermes}/bin/hermes "$@" >said 2>&1 </dev/null && fail "hermes $* ended well"
            grep -q 'managed by NixOS' said || { cat said; fail "hermes $* did not say who manages it"; }
          }
          refuses setup
          refuses config set model.default x
          refuses config edit
          [ ! -e $HERMES_HOME/config.yaml ] || fail "something was written"
          HERMES_MANAGED=true HERMES_MANAGED_EXIT_ZERO=1 ${hermes}/bin/hermes config set model.default x \
            || fail "HERMES_MANAGED_EXIT_ZERO=1 is not obeyed"
        '';

        bundled-skills = check "bundled-skills" [ ] ''
          skills=${hermes}/share/hermes-agent/skills
          [ -d $skills ] || fail "no $skills"
          grep -q HERMES_BUNDLED_SKILLS ${hermes}/bin/hermes || fail "the wrapper does not set HERMES_BUNDLED_SKILLS"
          there=$(find -L $skills -name SKILL.md | wc -l)
          [ $there = ${toString bundledSkills} ] || fail "$there skills are packaged, the source has ${toString bundledSkills}"
        '';

        config-roundtrip = check "config-roundtrip" [ ] ''
          ${hermes.venv}/bin/python -I ${./config_roundtrip.py}
        '';
      };

      more = {
        config-schema-sync = check "config-schema-sync" [ ] ''
          diff -u ${../module/settings-schema.json} ${hermes.configSchema} \
            || fail "nix/module/settings-schema.json is behind; run scripts/generate-nix-schema"
        '';

        extra-python-packages = check "extra-python-packages" [ ] ''
          ${extended}/bin/hermes version
          grep -q PYTHONPATH ${extended}/bin/hermes || fail "no PYTHONPATH in the wrapper"
          ! grep -q PYTHONPATH ${hermes}/bin/hermes || fail "the plain package sets PYTHONPATH"
        '';

        extra-dependency-groups = check "extra-dependency-groups" [ ] ''
          ${self'.packages.full}/bin/hermes version
          for name in ${toString hermes.availableGroups}; do
            case " ${toString self'.packages.full.dependencyGroups} " in *" $name "*) ;; *) fail "$name is missing" ;; esac
          done
        '';

        # The libraries of the platforms load together, from one environment.
        extra-messaging = check "extra-messaging" [ ] ''
          ${self'.packages.messaging.venv}/bin/python -I -c \
            'import aiosmtplib, discord, nio, slack_sdk, slack_sdk.socket_mode.aiohttp'
          ! ${hermes.venv}/bin/python -I -c 'import discord' 2>/dev/null || fail "the plain package has discord"
        '';

        collision = check "collision" [ ] ''
          site=${hermes.venv}/${hermes.python.sitePackages}
          mkdir -p fake/Click-99.dist-info other/unheard_of-1.dist-info
          printf 'Name: Click\n' >fake/Click-99.dist-info/METADATA
          ! ${hermes.python.interpreter} ${../check-collisions.py} $site fake 2>said || fail "a second click was accepted"
          grep -q "'click'" said || fail "the message does not name it"
          ${hermes.python.interpreter} ${../check-collisions.py} $site other || fail "something new was refused"
        '';

        no-node = pkgs.runCommand "hermes-check-no-node" { exportReferencesGraph = [ "closure" hermes ]; } ''
          ! grep -E -- '-nodejs-[0-9]' closure || { echo "Node is in the closure of the default package" >&2; exit 1; }
          touch $out
        '';

        build-devshell = self'.devShells.default;
        module-eval = pkgs.callPackage ./module-eval.nix { inherit self; };
        cross-eval = crossEval;
      };

      extended = hermes.override { extraPythonPackages = [ examplePlugin ]; };
      # A plug-in that announces itself the way extraPythonPackages are found.
      examplePlugin =
        pkgs.runCommand "python3.12-hermes-example-plugin"
          {
            passthru.pythonModule = pkgs.python312;
          }
          ''
            site=$out/${pkgs.python312.sitePackages}
            mkdir -p $site/hermes_example_plugin-1.dist-info
            echo 'NAME = "example"' >$site/hermes_example_plugin.py
            printf 'Metadata-Version: 2.1\nName: hermes-example-plugin\nVersion: 1\n' \
              >$site/hermes_example_plugin-1.dist-info/METADATA
            printf '[hermes_agent.plugins]\nexample = hermes_example_plugin\n' \
              >$site/hermes_example_plugin-1.dist-info/entry_points.txt
          '';

      # Every system evaluates from every system: the paths of their derivations are written down.
      crossEval =
        let
          evaluated = lib.genAttrs [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ] (
            other: builtins.unsafeDiscardStringContext self.packages.${other}.default.drvPath
          );
        in
        pkgs.writeText "hermes-cross-eval.json" (builtins.toJSON evaluated);

      hasVirtualMachines =
        pkgs.stdenv.hostPlatform.isLinux && (builtins.tryEval (pkgs.testers ? runNixOSTest)).value;
      machines = {
        vm-native = pkgs.testers.runNixOSTest (import ../tests/native.nix { inherit self; });
        vm-container = pkgs.testers.runNixOSTest (import ../tests/container.nix { inherit self; });
      };
    in
    {
      checks = basic // more // lib.optionalAttrs hasVirtualMachines machines;
    };
}
