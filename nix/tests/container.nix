# The container on a whole NixOS machine, from an image that is there already: no network is needed.
{ self }:
{
  name = "hermes-agent-container";

  nodes.machine =
    { lib, pkgs, ... }:
    let
      image = pkgs.dockerTools.buildImage {
        name = "hermes-test";
        tag = "1";
        copyToRoot = pkgs.buildEnv {
          name = "hermes-test-root";
          paths = [ pkgs.busybox ];
          pathsToLink = [ "/bin" ];
        };
        runAsRoot = ''
          mkdir -p /tmp /etc /root
          chmod 1777 /tmp
          echo 'root:x:0:0::/root:/bin/sh' >/etc/passwd
          echo 'root:x:0:' >/etc/group
        '';
      };
    in
    {
      imports = [
        self.nixosModules.default
        ../../tests/system/nix/machine.nix
      ];
      services.hermes-agent = {
        credentials = lib.mkForce { };
        container = {
          enable = true;
          image = "hermes-test:1";
          hostUsers = [ "alice" ];
        };
      };
      users.users.alice.isNormalUser = true;
      # As the agent's own installations would: into the image's file system, not into the state.
      specialisation.mounted.configuration.services.hermes-agent.container.extraVolumes = [ "/srv:/srv:ro" ];
      specialisation.upgraded.configuration.services.hermes-agent.extraArgs = lib.mkForce [ ];
      systemd.services.hermes-test-image = {
        requiredBy = [ "hermes-agent.service" ];
        before = [ "hermes-agent.service" ];
        after = [ "docker.service" ];
        requires = [ "docker.service" ];
        serviceConfig.Type = "oneshot";
        serviceConfig.RemainAfterExit = true;
        script = "${pkgs.docker}/bin/docker load <${image}";
      };
      environment.systemPackages = [ pkgs.python3 ];
      virtualisation.memorySize = 3072;
      virtualisation.diskSize = 8192;
    };

  testScript = ''
    def switch(to=""):
        machine.succeed(f"/run/booted-system{to}/bin/switch-to-configuration test >&2", timeout=300)
        up()

    def up():
        machine.wait_for_unit("hermes-agent.service")
        machine.wait_until_succeeds("curl -sf http://127.0.0.1:8642/health", timeout=120)

    def identity():
        return machine.succeed("docker inspect -f '{{.Id}}' hermes-agent").strip()

    machine.wait_for_unit("multi-user.target")
    print(machine.succeed(
        "python3 ${../../tests/system/nix}/container_scenario.py ${../../tests/system/nix}/model.yaml",
        timeout=600,
    ))
    first = identity()

    with subtest("the host's command runs in the container, for root and for a host user"):
        machine.succeed("hermes version")
        machine.succeed("test $(readlink /home/alice/.hermes) = /var/lib/hermes/.hermes")

    with subtest("a restart and an upgrade keep the container and what was installed in it"):
        machine.succeed("docker exec -u 0 hermes-agent sh -c 'echo kept >/installed'")
        machine.succeed("systemctl restart hermes-agent")
        up()
        assert identity() == first
        switch("/specialisation/upgraded")
        assert identity() == first
        machine.succeed("docker exec hermes-agent grep kept /installed")

    with subtest("garbage collection leaves a container that starts again"):
        machine.succeed("nix-collect-garbage -d")
        machine.succeed("systemctl restart hermes-agent")
        up()

    with subtest("another mount makes a new container from the old one's files"):
        switch("/specialisation/mounted")
        assert identity() != first
        machine.succeed("docker exec hermes-agent grep kept /installed")
        machine.succeed("hermes-agent-container plan")
  '';
}
