# `pkgs.hermes-agent`, built from this flake's lock files whatever nixpkgs it is put on.
{ inputs }:
final: _prev: {
  hermes-agent = final.callPackage ./package.nix {
    inherit (inputs) pyproject-nix uv2nix pyproject-build-systems;
    # Only a clean checkout has a revision worth telling.
    revision = inputs.self.rev or null;
  };
}
