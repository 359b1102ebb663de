# `nix develop`: Python, uv and the tools; the libraries of uv.lock are put into .venv on first entry.
_: {
  perSystem =
    { pkgs, ... }:
    {
      devShells.default = pkgs.mkShell {
        packages = with pkgs; [
          python312
          uv
          nodejs_22
          ripgrep
          git
          openssh
          ffmpeg
        ];
        env = {
          UV_PYTHON_DOWNLOADS = "never";
          UV_PYTHON = pkgs.python312.interpreter;
        };
        shellHook = builtins.readFile ./devshell.sh;
      };
    };
}
