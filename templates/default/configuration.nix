{ ... }:
{
  # Replace this by what nixos-generate-config wrote for your machine.
  boot.loader.grub.device = "/dev/sda";
  fileSystems."/" = {
    device = "/dev/sda1";
    fsType = "ext4";
  };
  networking.hostName = "server";
  system.stateVersion = "26.05";

  services.hermes-agent = {
    enable = true;
    addToSystemPackages = true;

    settings.model.default = "openrouter:anthropic/claude-sonnet-4.5";

    # A file only root can read, one line: OPENROUTER_API_KEY=...
    environmentFiles = [ "/var/lib/secrets/hermes.env" ];
  };

  # People in this group may talk to the service's home with `hermes`.
  users.users.admin = {
    isNormalUser = true;
    extraGroups = [
      "wheel"
      "hermes"
    ];
  };
}
