"""All that the pocket model knows of Heron, of all tables."""

from __future__ import annotations

import facts
import facts_files
import facts_serving

FACTS = (*facts.FACTS, *facts_files.FACTS, *facts_serving.FACTS)
