def parse_settings(text):
    """Read lines of the form `name = value`; skip comments and empty lines."""
    settings = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, value = line.split("=", 1)
        settings[name.strip()] = vaule.strip()
    return settings
