"""Pictures given back as the recordings had them: another camera, other colours, another light."""
