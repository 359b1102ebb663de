{
  description = "hermes-agent: a self-hosted AI agent with a terminal, a messaging gateway and an API server";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

    flake-parts = {
      url = "github:hercules-ci/flake-parts";
      inputs.nixpkgs-lib.follows = "nixpkgs";
    };

    pyproject-nix = {
      url = "github:pyproject-nix/pyproject.nix";
      inputs.nixpkgs.follows = "nixpkgs";
    };

    uv2nix = {
      url = "github:pyproject-nix/uv2nix";
      inputs.pyproject-nix.follows = "pyproject-nix";
      inputs.nixpkgs.follows = "nixpkgs";
    };

    pyproject-build-systems = {
      url = "github:pyproject-nix/build-system-pkgs";
      inputs.pyproject-nix.follows = "pyproject-nix";
      inputs.uv2nix.follows = "uv2nix";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    inputs@{ flake-parts, self, ... }:
    flake-parts.lib.mkFlake { inherit inputs; } {
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
      ];

      imports = [
        ./nix/packages.nix
        ./nix/devshell.nix
        ./nix/checks
      ];

      flake = {
        overlays.default = import ./nix/overlay.nix { inherit inputs; };
        nixosModules.default = import ./nix/module { inherit self; };
        homeModules.default = import ./nix/home-module.nix { inherit self; };
        templates.default = {
          path = ./templates/default;
          description = "A NixOS server that runs hermes-agent";
        };
      };
    };
}
