# One server of `mcpServers`. What is null or empty is left out of config.yaml.
{ lib }:
let
  inherit (lib) mkOption types;
  option =
    type: default: description:
    mkOption { inherit type default description; };
  strings = types.listOf types.str;
in
{
  options = {
    command = option (types.nullOr types.str) null "Program to start; speaks over its standard input and output.";
    args = option strings [ ] "Its arguments.";
    env = option (types.attrsOf types.str) { } "Its environment; write secrets as `\${NAME}`.";
    url = option (types.nullOr types.str) null "Address of a remote server.";
    headers = option (types.attrsOf types.str) { } "Sent with every request to `url`.";
    auth = option (types.nullOr (types.enum [ "oauth" ])) null "`oauth` signs in with OAuth 2.1.";
    enabled = option types.bool true "Connect to it.";
    timeout = option (types.nullOr types.ints.positive) null "Seconds for one tool call (120).";
    connect_timeout = option (types.nullOr types.ints.positive) null "Seconds to connect (60).";
    tools = mkOption {
      type = types.nullOr (
        types.submodule {
          options = {
            include = option strings [ ] "Only these tools.";
            exclude = option strings [ ] "All tools but these.";
          };
        }
      );
      default = null;
      description = "Which tools are offered.";
    };
    sampling = mkOption {
      type = types.nullOr (
        types.submodule {
          options = {
            enabled = option types.bool true "Answer the server's model requests.";
            model = option (types.nullOr types.str) null "Model to answer with.";
            max_tokens_cap = option (types.nullOr types.ints.positive) null "Most tokens in one answer.";
            timeout = option (types.nullOr types.ints.positive) null "Seconds for one request.";
            max_rpm = option (types.nullOr types.ints.unsigned) null "Requests in a minute.";
            max_tool_rounds = option (types.nullOr types.ints.unsigned) null "Tool rounds in one request.";
            allowed_models = option strings [ ] "Models the server may ask for; empty means any.";
            log_level = option (types.nullOr (types.enum [
              "debug"
              "info"
              "warning"
            ])) null "How loudly requests are logged.";
          };
        }
      );
      default = null;
      description = "Model requests that the server may make.";
    };
  };
}
