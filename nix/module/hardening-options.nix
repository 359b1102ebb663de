# What the unit may do. The defaults let the agent run tools in its workspace and little else; every
# relaxation is an option with its reason.
{ lib }:
let
  inherit (lib) mkOption types;
  option =
    type: default: description:
    mkOption { inherit type default description; };
in
{
  enable = option types.bool true ''
    Confine the service. Without it only `NoNewPrivileges`, `ProtectSystem=strict` and `PrivateTmp` are set.
  '';
  writablePaths = option (types.listOf types.str) [ ] ''
    Further directories the agent may write. Only the state directory and the working directory are
    writable otherwise.
  '';
  bindPaths = option (types.listOf types.str) [ ] "Directories mounted into the service, `from:to`; writable.";
  bindReadOnlyPaths = option (types.listOf types.str) [ ] "Directories mounted into the service, `from:to`; read-only.";
  allowHome = option (types.enum [
    "no"
    "read-only"
    "yes"
  ]) "no" "Whether people's home directories are seen: for an agent that works on their files.";
  allowDocker = option types.bool false ''
    Let the service use the Docker socket, for `terminal.backend = "docker"`. Who may use it is as good
    as root on this machine.
  '';
  allowNamespaces = option types.bool false ''
    Let commands make namespaces: needed by browsers' sandboxes, `bwrap`, rootless containers and `nix build`.
  '';
  allowDevices = option types.bool false "Show the machine's devices: cameras, sound, GPUs, serial ports.";
  allowJit = option types.bool true ''
    Let programs make code at run time: Node, Java, LuaJIT and PyPy need it.
  '';
  allowSystemInformation = option types.bool true ''
    Show `/proc/meminfo`, `/proc/cpuinfo` and the like: `free`, `nproc`, Node and build tools read them.
  '';
  allowOtherProcesses = option types.bool false "Show the processes of other users in `/proc`.";
  allowSetuid = option types.bool false ''
    Let commands become root by `sudo` and other setuid programs. This gives up `NoNewPrivileges`.
  '';
  allowRawNetwork = option types.bool false "Let programs open packet sockets (`tcpdump`, some VPN tools).";
  allowBind = option (types.listOf types.str) [ ] ''
    Ports the service and its commands may listen on, as in systemd's `SocketBindAllow=` (`tcp:8642`). If
    this is empty, any port above 1023.
  '';
}
