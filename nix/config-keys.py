"""Print every leaf key of the default configuration as a sorted JSON array."""

import json

from hermes_agent.config.effective import leaf_keys

print(json.dumps(sorted(leaf_keys()), indent=2))
