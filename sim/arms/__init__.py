"""Robot arms of other packages: their models, light to draw; where their joints put the gripper."""
