"""A model that follows a script: for tests, for demonstrations and for users' own smoke tests.

One script format (`script`) drives a model inside the process (`model.ScriptedModel`) and a server
that speaks three wire dialects (`server.ScriptedServer`). The format is described in
docs/scripted-model.md.
"""
