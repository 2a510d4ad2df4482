"""``python -m robot_wm.cli``: the command line without its script."""

import sys

from robot_wm.cli.main import main

sys.exit(main())
