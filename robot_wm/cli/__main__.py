"""``python -m robot_wm.cli``: the command line without its script."""

import sys

from robot_wm.core.system.start import leave_current_folder

leave_current_folder()  # before anything else is imported, which may be called like a file there

from robot_wm.cli.main import main  # noqa: E402

sys.exit(main())
