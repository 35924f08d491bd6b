"""One model for one system: is it safe to run with its direct forces, and if not, how then?"""
