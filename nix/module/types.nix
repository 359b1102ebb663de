# Option types from the JSON Schema that the Python settings give (`hermes config schema`).
{ lib, json }:
schema:
let
  inherit (lib) types;

  # A key that is null counts as absent, so every option may be null and is left out then.
  option =
    description: type:
    lib.mkOption {
      type = types.nullOr type;
      default = null;
      inherit description;
    };

  object =
    definition:
    types.submodule {
      freeformType = types.attrsOf json;
      options = lib.mapAttrs (_: property: option (property.description or "") (typeOf property)) (
        definition.properties or { }
      );
    };

  bounded =
    base: definition:
    let
      low = definition.minimum or null;
      high = definition.maximum or null;
      above = definition.exclusiveMinimum or null;
      says = lib.concatStringsSep ", " (
        lib.optional (low != null) "at least ${toString low}"
        ++ lib.optional (above != null) "more than ${toString above}"
        ++ lib.optional (high != null) "at most ${toString high}"
      );
    in
    if says == "" then
      base
    else
      types.addCheck base (
        value:
        (low == null || value >= low) && (above == null || value > above) && (high == null || value <= high)
      )
      // {
        description = "${base.description} (${says})";
      };

  union =
    members:
    let
      isNull = member: (member.type or null) == "null";
      # Maps last: the module system asks the types in turn.
      isObject =
        member:
        member ? "$ref" && !(resolve member ? enum) || (member.type or null) == "object";
      rest = lib.filter (member: !isNull member) members;
      ordered = lib.filter (member: !isObject member) rest ++ lib.filter isObject rest;
    in
    if ordered == [ ] then json else types.oneOf (map typeOf ordered);

  resolve = property: schema."$defs".${lib.removePrefix "#/$defs/" property."$ref"};

  byKind = {
    string = _: types.str;
    integer = bounded types.int;
    number = bounded types.number;
    boolean = _: types.bool;
    array = definition: types.listOf (if definition ? items then typeOf definition.items else json);
    object =
      definition:
      if definition ? properties then
        object definition
      else if lib.isAttrs (definition.additionalProperties or true) then
        types.attrsOf (types.nullOr (typeOf definition.additionalProperties))
      else
        types.attrsOf json;
  };

  typeOf =
    property:
    if property ? "$ref" then
      typeOf (resolve property)
    else if property ? enum then
      types.enum property.enum
    else if property ? const then
      types.enum [ property.const ]
    else if property ? anyOf then
      union property.anyOf
    else if property ? allOf then
      typeOf (lib.head property.allOf)
    else
      (byKind.${property.type or "any"} or (_: json)) property;
in
{
  # config.yaml: known keys with their types, anything else as JSON.
  settings = object schema;
  knownKeys = lib.attrNames schema.properties;
}
