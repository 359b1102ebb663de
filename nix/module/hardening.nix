# The [Service] settings that confine an instance.
{ lib, cfg }:
let
  h = cfg.hardening;
  minimum = {
    NoNewPrivileges = !h.allowSetuid;
    ProtectSystem = "strict";
    PrivateTmp = true;
    ReadWritePaths = [
      cfg.stateDir
      cfg.workingDirectory
    ]
    ++ h.writablePaths;
  }
  // lib.optionalAttrs (h.bindPaths != [ ]) { BindPaths = h.bindPaths; }
  // lib.optionalAttrs (h.bindReadOnlyPaths != [ ]) { BindReadOnlyPaths = h.bindReadOnlyPaths; };
in
if !h.enable then
  minimum
else
  minimum
  // {
    CapabilityBoundingSet = "";
    AmbientCapabilities = "";
    DevicePolicy = "closed";
    KeyringMode = "private";
    LockPersonality = true;
    MemoryDenyWriteExecute = !h.allowJit;
    PrivateDevices = !h.allowDevices;
    PrivateMounts = true;
    # Its own user namespace: the service cannot act as anybody else. (The Docker socket belongs to a
    # group that such a namespace does not know.)
    PrivateUsers = !(h.allowDocker || h.allowSetuid);
    ProcSubset = if h.allowSystemInformation then "all" else "pid";
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHome =
      {
        no = true;
        read-only = "read-only";
        yes = false;
      }
      .${h.allowHome};
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectProc = if h.allowOtherProcesses then "default" else "invisible";
    RemoveIPC = true;
    RestrictAddressFamilies = [
      "AF_UNIX"
      "AF_INET"
      "AF_INET6"
      # Programs list network interfaces through it.
      "AF_NETLINK"
    ]
    ++ lib.optional h.allowRawNetwork "AF_PACKET";
    RestrictNamespaces = !h.allowNamespaces;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    SystemCallErrorNumber = "EPERM";
    SystemCallFilter = [
      "@system-service"
      "~@privileged"
      "~@resources"
    ]
    ++ lib.optionals h.allowNamespaces [
      "@mount"
      "unshare"
      "setns"
    ];
  }
  // lib.optionalAttrs h.allowDocker { SupplementaryGroups = [ "docker" ]; }
  // lib.optionalAttrs (h.allowBind != [ ]) {
    SocketBindDeny = "any";
    SocketBindAllow = h.allowBind;
  }
