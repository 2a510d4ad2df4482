"""What several commands put together: agents from settings, goal pictures from files."""
