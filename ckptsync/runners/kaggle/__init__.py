"""The runner `kaggle`: one kernel per run, pushed again for every session.

    settings, credentials, endpoint    what is configured, who we are, where the service is
    web, errors, looking               HTTP with bounds, what an answer means, looking for what comes late
    connection, client                 signed in through the official SDK; the service's calls and fields
    versions                           which session a version of the kernel is, read from its script
    upload, inputs                     how checkpoints get there
    pushing                            start a session once
    listing, download, log             what a session left and printed
    allowances, checks                 what the service allows; what `doctor` looks at
    runner                             KaggleRunner, which joins them

The SDK is imported on use: a project without this runner needs neither it nor a network.
"""
