"""Do the numbers hold?"""
