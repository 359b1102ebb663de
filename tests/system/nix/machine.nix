# The configuration that the booted machine gets; see scenario.py.
{ pkgs, ... }:
{
  services.hermes-agent = {
    enable = true;
    addToSystemPackages = true;
    settings = {
      model = {
        provider = "custom";
        base_url = "http://127.0.0.1:4999/v1";
        default = "scripted";
      };
      approvals.mode = "off";
      api_server.port = 8642;
    };
    environmentFiles = [ "/etc/hermes-secrets.env" ];
    credentials.HANDED_OVER_TOKEN = "/etc/hermes-credential";
    documents."USER.md" = "hello";
    watchdogSec = 6;
    drainTimeout = 20;
    extraArgs = [ "-v" ];
    extraPackages = [
      pkgs.python3
      pkgs.procps
    ];
  };
}
